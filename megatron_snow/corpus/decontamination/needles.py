"""The texts of benchmarks that must not be in a corpus, and which runs of their words give a document away.

A run of n words (DeepSeek-Coder, arXiv 2401.14196: 10) of any text of a task counts; a text with fewer words
counts whole. What would also drop documents that have nothing to do with a benchmark is left out:

- short: a text of under MIN_WORDS words (`return n % 1.0`)
- plain: a run with under MIN_TELLING different telling words (`[1, 2, ..., 10]`, a table of `"one": 1, "two": 2`),
  or with under MIN_OWN of them that are not Python's own (`for i in range(len(l)): for j in range(i + 1, len(l))`).
  A telling word begins with two letters, stands on no line that imports something, and is none of a closed list
  that everybody writes down in order: numbers, days, months. A text with such runs alone counts whole, where it
  has up to MAX_WORDS words and MIN_TELLING_WHOLE telling ones.
- shared: a run that SHARED_TASKS tasks of one benchmark have names none of them (`fig, ax = plt.subplots() ...`,
  `Write a python function to find the ...`), unless the task has no other (HumanEval/56 and 61 differ in brackets)
- known: a text that stands in trivial.yaml, or a run inside one, with the source that calls it trivial

A text without any run that counts is trivial; benchmarks.lock.json lists each with the reason.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from megatron_snow.config import benchmark_label
from megatron_snow.tasks import BENCHMARKS, TaskTexts, load_texts

MIN_WORDS = 6  # below it HumanEval's needles are idioms: "return sorted(set(l))", "return a + b"
MIN_TELLING = 4  # with 3, loops over two ranges drop NumPy-style code and say nothing of a benchmark
MIN_OWN = 1
MIN_TELLING_WHOLE = 2
MAX_WORDS = 64  # of a run
SHARED_TASKS = 3  # two tasks of HumanEval are variants of each other (encode_cyclic, decode_cyclic)

_CLOSED_LISTS = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen
twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion
first second third fourth fifth sixth seventh eighth ninth tenth
monday tuesday wednesday thursday friday saturday sunday mon tue wed thu fri sat sun
january february march april may june july august september october november december
jan feb mar apr jun jul aug sep oct nov dec
"""
_CLOSED = frozenset(_CLOSED_LISTS.split())
_NAMES = """
abs all any append bool bytes chr cls dict dir enumerate extend filter float format frozenset getattr hasattr hash hex int isinstance
items iter join keys len list map max min next object open ord pow print range repr reversed round self set setattr sorted split str
strip sum super tuple type values zip __init__ __name__ __main__
"""
_PYTHON = frozenset([*map(str.lower, keyword.kwlist), *_NAMES.split()])
_IMPORTS = re.compile(
    rb"""^[ \t>.]*(?:
        from \s+ [\w.]+ \s+ import \s+ (?: \([^)]*\) | .* )
      | import \s+ [\w.]+ (?: \s+ as \s+ \w+ | \s*,\s* [\w.]+ )* [ \t;]* $
      | import \s .* \s from \s .*
      | \# \s* include \s* [<"] .*
      | (?: use | using | package ) \s+ [\w.:*{}, ]+ ; )""",
    re.MULTILINE | re.VERBOSE,
)
_TELLING = re.compile(r"[^\W\d]{2}")


@dataclass(frozen=True)
class Needle:
    """One text of a task."""

    benchmark: str
    task: str
    kind: str  # docstring, prompt, solution or test
    text: str
    family: str = ""  # the task without its language; "": the task


def name_of(benchmark: str) -> str:
    """What a benchmark is called in counts and reports; known names are lower case."""
    name = benchmark_label(benchmark)
    return name.lower() if name.lower() in BENCHMARKS else name


def needles_of(benchmark: str, tasks: Sequence[TaskTexts] | None = None) -> list[Needle]:
    """Every text of a benchmark, given by a name that `tasks` knows or a path; `tasks`: what it has been read to."""
    read = load_texts(benchmark) if tasks is None else tasks
    return [Needle(name_of(benchmark), task.task, kind, text, task.family) for task in read for kind, text in task.texts]


def tells(word: str) -> bool:
    """Whether a word in lower case says something of the text that it stands in."""
    return bool(_TELLING.match(word)) and word not in _CLOSED


def is_own(word: str) -> bool:
    """Whether a word in lower case is none of Python's: neither a keyword nor one of its most used names."""
    return word not in _PYTHON


def imports_in(text: bytes) -> list[tuple[int, int]]:
    """(first byte, end) of each import of Python, JavaScript, Java, C, Rust or C#."""
    return [match.span() for match in _IMPORTS.finditer(text)]


@cache
def known_trivial() -> tuple[str, ...]:
    """Every text that trivial.yaml lists."""
    sources = yaml.safe_load(Path(__file__).with_name("trivial.yaml").read_text(encoding="utf-8"))
    return tuple(text for source in sources for text in source["texts"])
