"""Which tokens the evaluation at the end of a phase counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from megatron_snow.datasets import IndexedDataset, IndexedWriter
from megatron_snow.tasks import Problem, load_benchmark
from megatron_snow.tokenizers import Tokenizer, load_tokenizer
from megatron_snow.training.held_out_rows import held_out_rows, solution_rows


@pytest.fixture(scope="module")
def tokenizer(code_tokenizer: Path) -> Tokenizer:
    return load_tokenizer(code_tokenizer)


def dataset(prefix: Path, tokens: int) -> IndexedDataset:
    with IndexedWriter(prefix, np.uint16) as writer:
        writer.append(np.arange(tokens) % 1000)
        writer.end_document()
    return IndexedDataset(prefix)


def test_rows_are_spread_over_the_whole_dataset(tmp_path: Path, tokenizer: Tokenizer) -> None:
    rows = held_out_rows(dataset(tmp_path / "Python", 1000), 4, 16, tokenizer)
    assert rows.tokens.shape == (4, 17)
    assert rows.mask.all()
    assert rows.tokens[:, 0].tolist() == [0, 327, 655, 983]
    assert rows.tokens[3, -1] == 999


def test_no_more_rows_than_there_are_tokens(tmp_path: Path, tokenizer: Tokenizer) -> None:
    rows = held_out_rows(dataset(tmp_path / "Python", 40), 64, 16, tokenizer)
    assert rows.tokens.shape == (2, 17)


def test_short_dataset_is_padded_and_masked(tmp_path: Path, tokenizer: Tokenizer) -> None:
    rows = held_out_rows(dataset(tmp_path / "C", 6), 4, 16, tokenizer)
    assert rows.tokens.tolist() == [[0, 1, 2, 3, 4, 5] + [0] * 11]
    assert rows.mask.tolist() == [[True] * 5 + [False] * 11]
    assert not held_out_rows(dataset(tmp_path / "Go", 0), 4, 16, tokenizer).mask.any()


def test_documents_and_files_are_numbered(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with IndexedWriter(tmp_path / "Python", np.uint16) as writer:
        for length in (5, 20):
            writer.append(np.arange(length))
            writer.end_document()
    rows = held_out_rows(IndexedDataset(tmp_path / "Python"), 1, 16, tokenizer)
    assert rows.documents is not None
    assert np.diff(rows.documents[0]).nonzero()[0].tolist() == [4]


def test_targets_are_the_solution_and_nothing_else(tiny_run) -> None:  # type: ignore[no-untyped-def]
    tokenizer = load_tokenizer(tiny_run.workspace.tokenizer_model)
    problems = load_benchmark("humaneval")[:20]
    rows = solution_rows("humaneval", problems, tokenizer, 1024)
    for row, problem in enumerate(problems):
        targets = rows.tokens[row, 1:][rows.mask[row]]
        assert tokenizer.decode(targets.tolist()) == problem.canonical_solution
        first = int(rows.mask[row].argmax())
        assert rows.tokens[row, 0] == tokenizer.eod
        assert tokenizer.decode(rows.tokens[row, 1 : first + 1].tolist()) == problem.prompt
    assert rows.kinds[0].num_bytes == sum(len(problem.canonical_solution.encode()) for problem in problems)


def test_what_does_not_fit_is_cut_and_bytes_follow(tiny_run) -> None:  # type: ignore[no-untyped-def]
    tokenizer = load_tokenizer(tiny_run.workspace.tokenizer_model)
    prompt, solution = "x = 1\n" * 50, "    return x\n" * 50
    rows = solution_rows("a", [Problem("a/0", prompt, "f", solution, "")], tokenizer, 16)
    targets = rows.tokens[0, 1:][rows.mask[0]]
    assert len(targets) == 16  # one token of the prompt stays
    assert solution.startswith(tokenizer.decode(targets.tolist()))
    assert rows.kinds[0].num_bytes == len(tokenizer.decode(targets.tolist()))
    short = solution_rows("a", [Problem("a/0", prompt, "f", "return", "")], tokenizer, 16)
    assert tokenizer.decode(short.tokens[0, 1:][short.mask[0]].tolist()) == "return"
    assert short.kinds[0].num_bytes == 6
    assert short.mask[0, -1]
