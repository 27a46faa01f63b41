import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_snow.synthesis.checks import extract_code, refuse

GOOD = '''"""Greatest common divisor, by Euclid: the pair (a, b) has the divisors of (b, a mod b)."""


def gcd(a: int, b: int) -> int:
    while b:
        a, b = b, a % b
    return a
'''


def test_the_longest_block_is_the_code() -> None:
    answer = f"Here it is:\n\n```python\n{GOOD}```\n\nUse it so:\n```\ngcd(4, 6)\n```\n"
    assert extract_code(answer) == (GOOD, "")


def test_an_answer_without_an_end_is_unfinished() -> None:
    assert extract_code(f"```python\n{GOOD}") == ("", "unfinished")
    assert extract_code("def f(): ...") == ("", "no_code_block")


def test_a_finished_block_before_the_cut_is_kept() -> None:
    assert extract_code(f"```python\n{GOOD}```\nAnd then ```py")[0] == GOOD


@given(st.text(st.characters(exclude_characters="`\r", exclude_categories=["Cs"]), min_size=1))
def test_any_code_comes_out_whole(code: str) -> None:
    assert extract_code(f"```\n{code}\n```")[0].strip("\n") == code.strip("\n")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (GOOD, ""),
        (GOOD + "def broken(:\n", "does_not_parse"),
        (GOOD + "\x00", "does_not_parse"),
        ("x = 1  # only numbers here\n" * 10, "no_definition"),
        ("def f():\n    return 1\n", "too_short"),
        ("(" * 5000, "does_not_parse"),
    ],
)
def test_python_must_parse_and_define(code: str, reason: str) -> None:
    assert refuse(code, "Python", "seed") == reason


def test_a_copy_of_the_seed_is_refused() -> None:
    assert refuse(GOOD.replace("    ", "\t"), "Python", "import math\n" + GOOD) == "copy_of_seed"


def test_other_languages_need_only_be_there() -> None:
    assert refuse("int main(void { return 0; }\n" * 10, "C", "seed") == ""
    assert refuse("int x;", "C", "seed") == "too_short"
