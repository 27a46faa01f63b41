"""Functions that say what a benchmark's solution says in other names or another order: reported, never dropped.

Two functions are alike where their statements are: the number of statements with the same form (`syntax`) over
the number in either, as multisets. From SIMILARITY on they are reported, as "renamed" where the whole function
is equal but for names, else as "similar". What has few statements or says little is left out: such functions
equal each other everywhere.

Looked at are Python documents that hold no needle. What costs is parsing; of what is parsed only functions whose
counts of statement types allow the similarity with some solution go on, and of those the ones with enough
statements that some solution has. Neither loses any.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from megatron_snow.corpus.decontamination.syntax import Function, Shape, forms, functions_in, whole_form
from megatron_snow.tasks import TaskTexts

# Read on 54 MB of installed packages with 2,142 functions of HumanEval(+), MBPP(+), EvoEval, BigCodeBench and MultiPL-E: at 200
# characters one function is found, and it is the solution (a recursive flatten); at 120 seven more, all of them short idioms.
SIMILARITY = 0.8
MIN_STATEMENTS = 5  # the `def` among them
MIN_FORM = 200  # characters of all forms together; 96 of HumanEval's 164 solutions have them


@dataclass(frozen=True)
class Program:
    """A solution that is a whole Python program."""

    benchmark: str
    task: str
    text: str


@dataclass(frozen=True)
class Likeness:
    """A function of a document and the solution that it is most like."""

    benchmark: str
    task: str
    kind: str  # renamed or similar
    similarity: float
    function: str
    line: int
    end_line: int

    def to_json(self) -> dict[str, Any]:
        """A record of semantic.jsonl."""
        return asdict(self)


@dataclass(frozen=True)
class _Solution:
    program: Program
    forms: Counter[str]
    whole: str
    shape: Shape


class SemanticIndex:
    """The functions of solutions by the forms of their statements."""

    def __init__(self, programs: Sequence[Program]) -> None:
        self._solutions = [solution for program in programs for solution in _solutions(program)]
        self._by_form: dict[str, list[int]] = defaultdict(list)
        for number, solution in enumerate(self._solutions):
            for form in solution.forms:
                self._by_form[form].append(number)
        self._possible: dict[Shape, bool] = {}

    def alike(self, source: str) -> Iterator[Likeness]:
        """For each function of a Python text and each benchmark the solution that it is most like, where it is like one."""
        if "def " not in source:
            return
        for function in functions_in(source):
            if len(function.statements) >= MIN_STATEMENTS and self._may_match(function.shape):
                try:
                    yield from list(self._best(function))
                except RecursionError:  # an expression of a thousand levels
                    continue

    def _may_match(self, shape: Shape) -> bool:
        if shape not in self._possible:
            types, table = self._shapes
            total = sum(count for _, count in shape)
            own = np.array([dict(shape).get(name, 0) for name in types])
            common = np.minimum(table, own).sum(axis=1)  # a type that no solution has adds to the union alone
            self._possible[shape] = bool(np.any(common >= SIMILARITY * (table.sum(axis=1) + total - common)))
        return self._possible[shape]

    @cached_property
    def _shapes(self) -> tuple[list[str], NDArray[np.int64]]:
        """Types of statements, and how many of each every solution has (each shape once)."""
        shapes = {solution.shape for solution in self._solutions}
        types = sorted({name for shape in shapes for name, _ in shape})
        counts = [[dict(shape).get(name, 0) for name in types] for shape in sorted(shapes)]
        return types, np.array(counts, np.int64).reshape(len(shapes), len(types))

    def _known_forms(self, function: Function) -> Counter[str] | None:
        """The forms of its statements, or None as soon as too many are in no solution."""
        own: Counter[str] = Counter()
        unknown, allowed = 0, int((1 - SIMILARITY) * len(function.statements) + 1e-9)  # the union has at least the own ones
        for form in forms(function):
            unknown += form not in self._by_form
            if unknown > allowed:
                return None
            own[form] += 1
        return own

    def _best(self, function: Function) -> Iterator[Likeness]:
        own = self._known_forms(function)
        if own is None or not _says_enough(own):
            return
        whole = whole_form(function)
        best: dict[str, tuple[float, int]] = {}
        for number in sorted({number for form in own for number in self._by_form.get(form, ())}):
            solution = self._solutions[number]
            similarity = _similarity(own, solution.forms)
            if similarity >= SIMILARITY and similarity > best.get(solution.program.benchmark, (0.0, 0))[0]:
                best[solution.program.benchmark] = similarity, number
        for benchmark, (similarity, number) in best.items():
            solution = self._solutions[number]
            kind = "renamed" if solution.whole == whole else "similar"
            yield Likeness(benchmark, solution.program.task, kind, round(similarity, 3), function.name, function.line, function.end_line)


def _solutions(program: Program) -> Iterator[_Solution]:
    for function in functions_in(program.text):
        own = Counter(forms(function))
        if len(function.statements) >= MIN_STATEMENTS and _says_enough(own):
            yield _Solution(program, own, whole_form(function), function.shape)


def programs_of(benchmark: str, tasks: Sequence[TaskTexts]) -> list[Program]:
    """The solutions of a benchmark's tasks that can be compared."""
    return [Program(benchmark, task.task, text) for task in tasks for text in task.programs]


def _says_enough(own: Counter[str]) -> bool:
    return sum(len(form) * count for form, count in own.items()) >= MIN_FORM


def _similarity(a: Counter[str], b: Counter[str]) -> float:
    """Jaccard of two multisets."""
    common = sum(min(count, b[item]) for item, count in a.items())
    return common / (a.total() + b.total() - common)
