"""The texts of benchmarks that must not be in a corpus, and which runs of their words give a document away.

A run of n words (DeepSeek-Coder, arXiv 2401.14196: 10) of any text of a task counts; a text with fewer words
counts whole. What would also drop documents that have nothing to do with a benchmark is left out:

- short: a text of under MIN_WORDS words (`return n % 1.0`)
- plain: a run with under MIN_TELLING different telling words (`[1, 2, ..., 10]`, `for i in range(n) for j
  in range(n)`, a table of `"one": 1, "two": 2`). A telling word begins with two letters and is none of a
  closed list that everybody writes down in order: numbers, days, months.
- shared: a run that SHARED_TASKS tasks of one benchmark have names none of them (`import numpy as np import
  pandas as pd ...`, `Write a python function to find the ...`)
- known: a text that stands in trivial.yaml, with the source that calls it trivial

A text without any run that counts is trivial; benchmarks.lock.json lists each with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from megatron_snow.corpus.decontamination.words import words_of
from megatron_snow.tasks import load_texts

MIN_WORDS = 6  # below it HumanEval's needles are idioms: "return sorted(set(l))", "return a + b"
MIN_TELLING = 4  # with 3, loops over two ranges drop NumPy-style code and say nothing of a benchmark
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
_TELLING = re.compile(r"[^\W\d]{2}")


@dataclass(frozen=True)
class Needle:
    """One text of a task."""

    benchmark: str
    task: str
    kind: str  # docstring, prompt, solution or test
    text: str
    family: str = ""  # the task without its language; "": the task


def needles_of(names: Sequence[str]) -> list[Needle]:
    """Every text of the benchmarks; a benchmark is called by its name or its file's name."""
    return [
        Needle(Path(name).name, task.task, kind, text, task.family)
        for name in names
        for task in load_texts(name)
        for kind, text in task.texts
    ]


def tells(word: str) -> bool:
    """Whether a word in lower case says something of the text that it stands in."""
    return bool(_TELLING.match(word)) and word not in _CLOSED


@cache
def known_trivial() -> frozenset[bytes]:
    """The word hashes of every text that trivial.yaml lists."""
    sources = yaml.safe_load(Path(__file__).with_name("trivial.yaml").read_text(encoding="utf-8"))
    return frozenset(words_of(text).hashes.tobytes() for source in sources for text in source["texts"])
