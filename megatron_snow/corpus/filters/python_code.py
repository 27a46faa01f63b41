"""What OpenCoder's Python profile counts in code without its comments and docstrings: lines, strings, markers.

A document comes here only after the cheaper rules have kept it. Differs from OpenCoder, which splits
with Pygments: each comment is a line of its own here, there neighbours run together.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from megatron_snow.corpus.filters.characters import Rows, Values, strings_of
from megatron_snow.pipeline import Texts

# A comment; a docstring, which is what stands in three quotes at the start of a line; any other string, which stays. No string
# begins behind a backslash: else each of 1 MB of \" would be looked at up to the end.
_PARTS = re.compile(
    r"#[^\n]*"
    r"|^[ \t]*[rRuUbB]{0,2}(?P<quotes>\"\"\"|''').*?(?P=quotes)"
    r"|(?<!\\)(?P<string>\"\"\"(?:[^\"\\]|\\.|\"(?!\"\"))*\"\"\"|'''(?:[^'\\]|\\.|'(?!''))*'''|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*')",
    re.MULTILINE | re.DOTALL,
)
# OpenCoder's: quotes that pair up, in this order of preference, whatever lies between.
_QUOTED = re.compile(r"'''(.*?)'''|\"\"\"(.*?)\"\"\"|'([^']*)'|\"([^\"]*)\"", re.DOTALL)
_QUOTED_IN_LINE = re.compile(r"'''(.*?)'''|\"\"\"(.*?)\"\"\"|'([^'\n]*)'|\"([^\"\n]*)\"", re.DOTALL)
_TOKEN = re.compile(r"\w+|[^\w\s]+")  # NLTK's wordpunct
_URL = re.compile(r"https?://\S")
_HEXADECIMAL = re.compile(r"\b0[xX][0-9a-fA-F]+\b")
_PROMPTS = ("your code here", "fixme", "todo")
_LONG = 20  # tokens of a long string, characters of a long word

COUNTED = (
    "code_lines", "comment_share", "repeated_line_share", "long_string_share", "string_share", "long_word_share", "hexadecimal_share",
    "prompt_share", "assert_share", "pass_share", "import_share", "print_share", "import_lines", "return_lines",
)  # fmt: skip


class Split(NamedTuple):
    """A Python text in two."""

    code: str
    comments: list[str]  # and docstrings


def split(text: str) -> Split:
    """Code without comments and docstrings, and these."""
    comments: list[str] = []

    def take(match: re.Match[str]) -> str:
        if match["string"]:
            return match[0]
        comments.append(match[0])
        return ""

    return Split(_PARTS.sub(take, text), comments)


def count_code(texts: Texts, rows: Rows) -> Mapping[str, Values]:
    """COUNTED of Python texts; shares are of code lines or of the characters of the code, NaN where there are none."""
    table = np.array(list(map(_counted_in, strings_of(texts, rows))), np.float64).reshape(-1, len(COUNTED))
    return dict(zip(COUNTED, table.T))


def _counted_in(text: str) -> Sequence[float]:
    code, comments = split(text)
    lines = [line for line in code.split("\n") if not line.isspace() and line]
    prompts = sum(any(prompt in line for prompt in _PROMPTS) for comment in comments for line in comment.lower().split("\n"))
    small = [line.lower() for line in lines]
    imports, returns = _having("import", small), sum(map(_is_return, lines))
    by_line = [_repeated_lines(lines), _long_strings(code)]
    by_character = [*_in_strings(code), sum(map(len, _HEXADECIMAL.findall(code)))]
    marked = [_having("assert", small), _having("pass", small), imports, _having("print", lines)]
    return [
        len(lines),
        _share(sum(map(len, comments)), len(text)),
        *(_share(count, len(lines)) for count in by_line),
        *(_share(count, len(code)) for count in by_character),
        _share(prompts, text.count("\n") + 1),
        *(_share(count, len(lines)) for count in marked),
        imports,
        returns,
    ]


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def _having(word: str, lines: Iterable[str]) -> int:
    return sum(word in line for line in lines)


def _is_return(line: str) -> bool:
    first = line.split(None, 1)[0]
    return first == "return"


def _repeated_lines(lines: Sequence[str]) -> int:
    """Lines that occur more than once but for their blanks; a lone bracket and "}," do not count."""
    counts = Counter("".join(line.split()) for line in lines)
    return sum(count for line, count in counts.items() if count > 1 and len(line) > 1 and line != "},")


def _long_strings(code: str) -> int:
    """Lines of strings that hold over 20 tokens."""
    pieces = (piece for match in _QUOTED.findall(code) for piece in "".join(match).split("\n") if len(piece) > _LONG)
    return sum(len(_TOKEN.findall(piece)) > _LONG for piece in pieces)


def _in_strings(code: str) -> tuple[int, int]:
    """Characters in strings, and in those of their words that are over 20 characters long and no URL."""
    strings = ["".join(match) for match in _QUOTED_IN_LINE.findall(code)]
    words = (word for string in strings if len(string) > _LONG for word in string.split() if len(word) > _LONG)
    return sum(map(len, strings)), sum(len(word) for word in words if not _URL.search(word))
