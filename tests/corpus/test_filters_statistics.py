"""The compiled loops against their definitions in Python, on real files and on texts made to trip them."""

from __future__ import annotations

import random
import sysconfig
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from megatron_snow.common.native import load_native
from megatron_snow.corpus.filters import characters, encoded, heads, load_profile, markup, python_code, python_tree, words
from megatron_snow.corpus.filters.rules import verdicts
from megatron_snow.pipeline import Texts, texts_of

needs_native = pytest.mark.skipif(load_native()[0] is None, reason=load_native()[1])

PIECES = (
    "0x41,", "41 ", "\\x41", "\\u00e9", "é", "\u2028", "\n", "\r\n", "\r", "\x85", "a", "F", "7", ",", "=", "/", "\u00a0", "x", "_", "→",
    "<p>", "</script >", "<script>", "<SCRIPT ", "&amp;", "&#x41;", "&#;", "&", "<!--", "-->", "<", ">", "İ", "中", "ſ", "\x1c", "\ufffd",
    "  ", "'", '"', "٣", "²", "𝔸", "\f", "word", "Word", "ß",
)  # fmt: skip
PLACES = (Path(sysconfig.get_path("stdlib")), Path(np.get_include()), Path(__file__).parents[2])
ENDINGS = (".py", ".h", ".c", ".cpp", ".md", ".txt", ".html", ".json", ".yaml", ".css", ".js")


def made_texts() -> list[str]:
    choose = random.Random(1234)
    return [
        "",
        *("".join(choose.choice(PIECES) * choose.choice((1, 1, 1, 9, 30)) for _ in range(choose.randrange(70))) for _ in range(3000)),
    ]


def real_texts(limit: int) -> list[str]:
    paths = sorted(path for place in PLACES for path in place.rglob("*") if path.suffix in ENDINGS and "site-packages" not in path.parts)
    texts = []
    for path in random.Random(7).sample(paths, min(limit, len(paths))):
        try:
            texts.append(path.read_bytes().decode())
        except (UnicodeDecodeError, OSError):
            continue
    return texts


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return made_texts() + real_texts(400)


@needs_native
@pytest.mark.parametrize(
    ("function", "columns", "definition", "tables"),
    [
        ("msnow_scan", 9, characters.counted_in, (characters.classes,)),
        ("msnow_encoded", 3, encoded.encoded_in, (characters.classes,)),
        ("msnow_visible", 1, lambda text: [markup.visible_in(text)], (characters.classes,)),
        ("msnow_words", 11, words.words_in, (characters.classes, characters.small_letters)),
    ],
)
def test_compiled_loops_give_what_python_gives(
    texts: list[str], function: str, columns: int, definition: Callable[[str], Sequence[int]], tables: Sequence[Callable[[], np.ndarray]]
) -> None:
    column = texts_of(pa.array(texts))
    rows = np.arange(len(texts))
    counts = characters.call(function, column, rows, columns, *(table() for table in tables))
    assert counts is not None
    expected = characters.table_of(map(definition, texts), columns)
    wrong = np.flatnonzero((counts != expected).any(axis=1))
    assert not len(wrong), (texts[wrong[0]][:200], counts[wrong[0]], expected[wrong[0]])
    assert expected.any(axis=0).all(), "a column that is never above 0 tests nothing"


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 64 * 64 - 1, 64 * 64, 64 * 64 + 1, 300_000])
@needs_native
def test_scan_at_the_edges_of_its_blocks(size: int) -> None:
    for text in ("a" * size, "é" * size, "a" * max(0, size - 1) + "é", "\n" * size, ("ab1 \n" * size)[:size], "\r\n" * size):
        column = texts_of(pa.array([text]))
        counts = characters.call("msnow_scan", column, np.zeros(1, np.int64), 9, characters.classes())
        assert counts is not None
        assert counts[0].tolist() == list(characters.counted_in(text))


def test_no_letter_lies_beyond_the_tables() -> None:
    beyond = "".join(map(chr, range(0x40000, 0x110000)))
    assert not any(map(str.isalnum, beyond))
    assert not any(map(str.isspace, beyond))
    assert beyond.lower() == beyond


def test_rows_are_those_asked_for_and_slices_start_where_they_do() -> None:
    column = texts_of(pa.array(["ab", "c\nde", "", "1234"]).slice(1))
    values = characters.count_characters(column, np.array([2, 0]))
    assert values["characters"].tolist() == [4, 4]
    assert values["lines"].tolist() == [1, 2]
    assert np.isnan(characters.count_characters(column, np.array([1]))["alphanumeric_share"][0])
    many = texts_of(pa.array(["a" * n for n in range(4000)]))
    assert characters.count_characters(many, np.arange(4000)[::8])["characters"].tolist() == list(range(0, 4000, 8))


@pytest.mark.parametrize("profile", ["starcoder", "starcoder2", "opencoder-python"])
def test_without_the_compiled_loops_the_verdicts_are_the_same(profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [*real_texts(60), *made_texts()[:300]]
    languages = [("Python", "HTML", "JSON", "C", "Text")[n % 5] for n in range(len(texts))]
    table = pa.table({"id": list(map(str, range(len(texts)))), "path": ["a"] * len(texts), "language": languages, "content": texts})
    fast = verdicts(load_profile(profile), table)
    monkeypatch.setattr(characters, "load_native", lambda: (None, "not built"))
    assert verdicts(load_profile(profile), table).equals(fast)
    assert len(set(fast.to_pylist())) > 4


def test_visible_text_has_no_markup() -> None:
    html = "<!DOCTYPE html><style>p {}</style><script>var x = '<p>';</script>\n<p class=a>two  <b>words</b> &amp;</p><!-- <p>no</p> -->"
    assert markup.visible_in(html) == len("two words &")
    assert markup.visible_in("a < b") == len("a < b")
    assert markup.visible_in("<script>no end") == 0


def test_words_are_small_letters_between_punctuation() -> None:
    count, characters_in_words, *_ = words.words_in("Foo_bar(x1) → ÉTÉ été")
    assert (count, characters_in_words) == (6, 3 + 3 + 2 + 1 + 3 + 3)
    assert words.words_in("Été ÉTÉ été ÉTÉ")[2] == 18  # (été, été) three times


def test_code_is_split_from_comments_and_docstrings() -> None:
    text = '"""Doc # not a comment."""\nx = "# no"  # yes\ndef f():\n    r\'\'\'Also\n    doc.\'\'\'\n    y = """kept"""\n'
    code, comments = python_code.split(text)
    assert comments == ['"""Doc # not a comment."""', "# yes", "    r'''Also\n    doc.'''"]
    assert code == '\nx = "# no"  \ndef f():\n\n    y = """kept"""\n'


def one_text(text: str) -> tuple[Texts, np.ndarray]:
    return texts_of(pa.array([text])), np.zeros(1, np.int64)


def test_counts_of_python_code() -> None:
    text = (
        "# fixme\nimport os\nassert os\nassert os\nprint('a b')\nurl = 'https://example.org/a/very/long/one'\nn = 0xFF\nreturn_value = 1\n"
    )
    values = {name: float(value[0]) for name, value in python_code.count_code(*one_text(text)).items()}
    assert values["code_lines"] == 7
    assert values["assert_share"] == 2 / 7
    assert values["repeated_line_share"] == 2 / 7
    assert values["print_share"] == 1 / 7
    assert values["prompt_share"] == 1 / 9
    assert values["import_lines"] == 1
    assert values["return_lines"] == 0
    assert values["long_word_share"] == 0  # the one long word is a URL
    code = text.removeprefix("# fixme")
    assert values["string_share"] == len("a b" + "https://example.org/a/very/long/one") / len(code)
    assert values["hexadecimal_share"] == 4 / len(code)


def test_counts_of_a_syntax_tree() -> None:
    text = (
        "class A:\n  x = 1\n  y: int = 2\n  def f(self): return 1\nfor i in a:\n  try:\n    b = 1\n  except E:\n    def g(): pass\n"
        "match c:\n  case 1:\n    d = e = 2\nasync def h(z): return 1\n"
    )
    values = {name: int(value[0]) for name, value in python_tree.read_trees(*one_text(text)).items()}
    # x, self, i, b, d and e; annotated y and async's z are none to OpenCoder
    assert values == {"parses": 1, "functions": 2, "trivial_functions": 1, "classes": 1, "class_variables": 2, "variables": 6}


@pytest.mark.parametrize("text", ["print 'old'", "x = (", "\x00", "(" * 5000, "x = 'a' 1", "a" + ".b" * 200_000, "-" * 100_000 + "1"])
def test_what_does_not_parse_is_no_error(text: str) -> None:
    values = python_tree.read_trees(*one_text(text))
    assert values["parses"][0] == 0
    assert np.isnan(values["variables"][0])


MADE_PATHS = (
    "a/Pods/b.m", "Pods/b.m", "x/Carthage/Build/a.h", "src/node_modules/a.js", "vendor/github.com/a/b.go", "Godeps/a.go",
    "a/__generated__/b.ts", "x/my.esy.lock", ".pnp.cjs", "a/.pnp.js/b", "a/b.zep.c", "Form.Designer.cs", "a.feature.cs",
    "dir/Cargo.lock", "a/b.nib", "a/ppport.h", "a.js.map",
)  # fmt: skip


def test_go_enry_says_the_same_of_what_it_is_given() -> None:
    """It gets a part of the path and of the text; real files and paths that its rules name."""
    enry = pytest.importorskip("enry")
    files = [(str(path), path.read_bytes()) for place in PLACES for path in sorted(place.rglob("*"))[:4000] if path.suffix in ENDINGS]
    marks = (b"Code generated by a", b"Generated by Cython 3", b"Autogenerated by Thrift Compiler", b"recorded_with: VCR", b"a" * 300)
    made = [(f"d/a{ending}", b"x\n" * before + mark + b"\n" * after) for ending in (".go", ".c", ".py", ".yml", ".js", ".css", ".rb")
            for mark in marks for before in (0, 1, 5, 39, 40, 100) for after in (0, 1, 100, 20_000)]  # fmt: skip
    cases = [*files, *made, *((path, b"x = 1\n") for path in MADE_PATHS)]
    whole = [enry.is_generated(path, body) for path, body in cases]
    assert [enry.is_generated(*heads.for_enry(path, body)) for path, body in cases] == whole
    assert sum(whole[len(files) :]) > 20


@pytest.mark.parametrize("piece", ["\\'", '\\"', "'\\", '"""\\', "'\\\"", "'''\"\"\"", "x'\\\n"])
def test_hostile_code_is_split_in_time(piece: str) -> None:
    started = time.process_time()
    assert python_code.split(piece * (200_000 // len(piece)))
    assert time.process_time() - started < 5  # a tenth of a second; minutes, where each quote is followed to the end
