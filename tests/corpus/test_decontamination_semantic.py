"""Solutions in other names and another order are reported; ordinary code is not."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable
from pathlib import Path

import pytest

from megatron_snow.common.records import read_json, read_json_lines
from megatron_snow.config import Corpus, Decontamination
from megatron_snow.corpus.decontamination.report import REPORT
from megatron_snow.corpus.decontamination.semantic import SIMILARITY, Program, SemanticIndex, programs_of
from megatron_snow.corpus.decontamination.syntax import forms, functions_in, whole_form
from megatron_snow.corpus.stages import decontaminate
from megatron_snow.pipeline import count_rows
from megatron_snow.tasks import load_texts

SOURCE = '''
def mean_gap(values: list[float], limit: float = 1.0) -> float:
    """Mean distance of neighbours."""
    total = 0.0
    count = 0
    for first, second in zip(values, values[1:]):
        gap = abs(second - first)
        if gap > limit:
            continue
        total += gap
        count += 1
    return total / count if count else 0.0
'''


@pytest.fixture(scope="module")
def index() -> SemanticIndex:
    return SemanticIndex(programs_of("humaneval", load_texts("humaneval")))


class Rename(ast.NodeTransformer):
    """Every name but the built-in ones gets a new one; docstrings and annotations go."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}

    def new(self, name: str) -> str:
        return name if name in dir(builtins) else self.names.setdefault(name, f"other{len(self.names)}")

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(self.new(node.id), node.ctx)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(self.new(node.arg))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.name, node.returns = self.new(node.name), None
        if ast.get_docstring(node):
            node.body = [ast.Expr(ast.Constant("Says something else.")), *node.body[1:]]
        return node


def renamed(program: str) -> str:
    return ast.unparse(ast.fix_missing_locations(Rename().visit(ast.parse(program))))


def test_renamed_solutions_are_found(index: SemanticIndex) -> None:
    """Each that is large enough to be compared at all, as "renamed" (HumanEval/21 and others use methods of typing: kept)."""
    compared = {solution.program.task for solution in index._solutions}
    assert len(compared) == 96
    for task in load_texts("humaneval"):
        found = [likeness for program in task.programs for likeness in index.alike(renamed(program))]
        assert ({likeness.task for likeness in found if likeness.kind == "renamed"} >= {task.task}) == (task.task in compared), task.task


def one(source: str, base: str = SOURCE) -> tuple[str, float] | None:
    likeness = next(SemanticIndex([Program("b", "t", base)]).alike(source), None)
    return likeness and (likeness.kind, likeness.similarity)


def test_names_annotations_docstrings_and_comments_do_not_matter() -> None:
    assert one(renamed(SOURCE)) == ("renamed", 1.0)
    assert one(SOURCE.replace("    total = 0.0\n", "    total: float = 0.0  # of gaps\n    pass\n")) == ("renamed", 1.0)


def test_order_makes_it_similar() -> None:
    swapped = SOURCE.replace("    total = 0.0\n    count = 0\n", "    count = 0\n    total = 0.0\n")
    assert one(renamed(swapped)) == ("similar", 1.0)


def test_similarity_at_its_boundary() -> None:
    """The function has ten statements: one that differs leaves 9 of 11, two leave 8 of 12."""
    assert len(list(forms(functions_in(SOURCE)[0]))) == 10
    once = SOURCE.replace("abs(second - first)", "abs(second - first) ** 2")
    assert one(once) == ("similar", round(9 / 11, 3))
    assert 9 / 11 >= SIMILARITY > 8 / 12
    assert one(once.replace("count = 0", "count = 1")) is None


def test_built_in_names_attributes_and_constants_matter() -> None:
    (function,) = functions_in(SOURCE)
    for other in (SOURCE.replace("abs(", "round("), SOURCE.replace("1.0", "2.0"), SOURCE.replace("values[1:]", "values.rest")):
        assert whole_form(functions_in(other)[0]) != whole_form(function)


def test_small_functions_are_left_out() -> None:
    small = "def f(a):\n    b = []\n    for c in a:\n        b.append(c)\n    return b\n"
    assert one(small, small) is None


@pytest.mark.parametrize(
    "source", ["def f(:\n", "x = 1\0", "def f():\n    return " + "(" * 500 + ")" * 500, "def f():\n    return " + "-" * 5000 + "1\n"]
)
def test_what_does_not_parse_has_no_functions(index: SemanticIndex, source: str) -> None:
    assert list(index.alike(source)) == []


def test_standard_library_is_not_like_humaneval(index: SemanticIndex, checkouts: Path) -> None:
    assert [likeness for path in checkouts.rglob("*.py") for likeness in index.alike(path.read_text())] == []


def test_prefilter_loses_nothing(index: SemanticIndex, checkouts: Path) -> None:
    """With every shape let through, real files and renamed solutions give the same."""
    sources = [path.read_text() for path in sorted(checkouts.rglob("*.py"))[:20]]
    sources += [renamed(program) for task in load_texts("humaneval")[:60] for program in task.programs]
    open_index = SemanticIndex(programs_of("humaneval", load_texts("humaneval")))
    open_index._may_match = lambda shape: True  # type: ignore[method-assign]
    assert [list(index.alike(source)) for source in sources] == [list(open_index.alike(source)) for source in sources]


def test_stage_reports_and_keeps(tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    program = next(iter(load_texts("humaneval")[1].programs))  # separate_paren_groups
    documents = [{"content": renamed(program), "path": "leak.py"}, {"content": program}, {"content": renamed(program), "language": "C"}]
    shard = write_shard(tmp_path / "in" / "s.parquet", *documents)
    corpus = Corpus(decontamination=Decontamination(semantic=True))
    manifest = decontaminate(corpus, [shard], tmp_path / "out")
    assert manifest.counts["kept"] == count_rows(tmp_path / "out" / "s.parquet") == 2
    (record,) = read_json_lines(tmp_path / "out" / "semantic.jsonl")
    assert (record["task"], record["kind"], record["path"], record["line"]) == ("HumanEval/1", "renamed", "leak.py", 3)
    assert read_json(tmp_path / "out" / REPORT)["benchmarks"]["humaneval"]["semantic"] == {"renamed": 1, "similar": 0}
    decontaminate(Corpus(), [shard], tmp_path / "out")
    assert not list((tmp_path / "out").glob("*semantic.jsonl"))  # of a run that asked for it
