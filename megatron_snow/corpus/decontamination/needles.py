"""The texts of benchmarks that must not be in a corpus, and finding them.

Texts are compared as words (`\\w+`, without case), so white space and punctuation do not matter. Any
run of n words of a docstring or a solution counts (DeepSeek-Coder: 10); a text with fewer words counts
whole. What says too little to be a leak is left out and counted: a text of under MIN_WORDS words
(`return n % 1.0`), and a run with under MIN_TELLING different words of two letters or more (`[1, 2,
..., 10]`, `a, b, ..., j`, `for i in range(n) for j in range(n)`).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from megatron_snow.corpus.shingles import ngram_hashes, word_hashes
from megatron_snow.tasks import Problem

MIN_WORDS = 6  # below it HumanEval's needles are idioms: "return sorted(set(l))", "return a + b"
MIN_TELLING = 4  # with 3, loops over two ranges drop NumPy-style code and say nothing of a benchmark

_WORD = re.compile(r"\w+")
_TELLING = re.compile(r"[^\W\d]{2}")  # begins with two letters
_TABLE_BITS = 22  # 4 MB: with HumanEval's 12,000 runs one word in 350 is looked up in vain


@dataclass(frozen=True)
class Needle:
    """One text of a problem."""

    benchmark: str
    task: str
    kind: str  # docstring or solution
    text: str


@dataclass(frozen=True)
class Leak:
    """A needle that a document holds, with the first words that gave it away."""

    benchmark: str
    task: str
    kind: str
    text: str

    def to_json(self) -> dict[str, str]:
        """A record of the hits file."""
        return asdict(self)


def needles_of(benchmark: str, problems: Iterable[Problem]) -> list[Needle]:
    """The docstrings (else the whole prompt) and the solution of each problem."""
    needles = []
    for problem in problems:
        needles += [Needle(benchmark, problem.task_id, "docstring", text) for text in docstrings(problem.prompt)]
        if problem.canonical_solution:
            needles.append(Needle(benchmark, problem.task_id, "solution", problem.canonical_solution))
    return needles


def docstrings(prompt: str) -> list[str]:
    """The docstrings of a Python prompt; the prompt itself where it has none or is not Python."""
    try:
        nodes = list(ast.walk(ast.parse(prompt)))
    except (SyntaxError, ValueError):
        return [prompt]
    documented = [node for node in nodes if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))]
    return [text for node in documented if (text := ast.get_docstring(node))] or [prompt]


class Index:
    """Needles by the hashes of their runs of words."""

    def __init__(self, needles: Sequence[Needle], ngram: int) -> None:
        self.trivial = 0  # needles that say too little
        self._needles = needles
        self._by_hash: dict[int, dict[int, list[int]]] = {}  # run length -> hash -> needles
        for number, needle in enumerate(needles):
            self._add(number, needle.text.lower(), ngram)
        self._tables = {length: _table(hashes) for length, hashes in sorted(self._by_hash.items())}

    def _add(self, number: int, text: str, ngram: int) -> None:
        words = _WORD.findall(text)
        length = min(ngram, len(words))
        runs = [words[start : start + length] for start in range(len(words) - length + 1)] if length >= MIN_WORDS else []
        starts = [start for start, run in enumerate(runs) if len({word for word in run if _TELLING.match(word)}) >= MIN_TELLING]
        if not starts:
            self.trivial += 1
            return
        hashes = ngram_hashes(word_hashes(text), length)
        known = self._by_hash.setdefault(length, {})
        for start in starts:
            known.setdefault(int(hashes[start]), []).append(number)

    def leaks(self, text: str) -> list[Leak]:
        """Every needle that a text holds, each once, in the order of their first words."""
        lowered = text.lower()
        words = word_hashes(lowered)
        found: dict[int, tuple[int, int]] = {}  # needle -> (first word, run length)
        for length, table in self._tables.items():
            hashes = ngram_hashes(words, length)
            for start in np.flatnonzero(table[hashes & np.uint64(len(table) - 1)]).tolist():
                for number in self._by_hash[length].get(int(hashes[start]), ()):
                    found[number] = min(found.get(number, (start, length)), (start, length))
        if not found:
            return []
        spans = [match.span() for match in _WORD.finditer(lowered)]
        return [
            self._leak(number, lowered[spans[start][0] : spans[start + length - 1][1]])
            for number, (start, length) in sorted(found.items(), key=lambda item: (item[1], item[0]))
        ]

    def _leak(self, number: int, text: str) -> Leak:
        needle = self._needles[number]
        return Leak(needle.benchmark, needle.task, needle.kind, text)


def _table(hashes: Mapping[int, Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """A bit a low part of a hash: most runs of a text are ruled out by one look."""
    table = np.zeros(1 << _TABLE_BITS, np.bool_)
    table[np.fromiter(hashes, np.uint64, len(hashes)) & np.uint64(len(table) - 1)] = True
    return table
