"""What is held out: about the share of a language, whole repositories where there are enough, the same whatever the order."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from megatron_snow.corpus.grouping.held_out import HeldOut, hold_out
from megatron_snow.corpus.grouping.survey import finer_units

Sizes = list[tuple[str, str, int]]  # repository, path, size
Chosen = Callable[..., HeldOut]


@pytest.fixture
def chosen(tmp_path: Path, write_shard: Callable[..., Path]) -> Chosen:
    """What is held out of documents given by repository, path and size."""

    def choose(documents: Sizes, share: float, seed: int = 1) -> HeldOut:
        rows = [{"repository": r, "path": p, "size": size, "content": f"{r}/{p}"} for r, p, size in documents]
        shard = write_shard(tmp_path / "in" / f"{len(list(tmp_path.glob('in/*')))}.parquet", *rows)
        finer = partial(finer_units, "Python", pieces=[(shard, None)])
        return hold_out(finer("repository", None), finer, share, seed, "Python")

    return choose


def held_bytes(held: HeldOut) -> int:
    return sum(held.units["bytes"].to_pylist())


def test_whole_repositories_are_held_out_where_there_are_many(chosen: Chosen) -> None:
    rows = [(f"r{n % 50}", f"{n}.py", 100) for n in range(1000)]
    held = chosen(rows, 0.1)
    assert held.level == "repository"
    assert 0.05 <= held_bytes(held) / 100_000 <= 0.15
    assert set(held.units["documents"].to_pylist()) == {20}
    assert chosen(rows[::-1], 0.1) == held
    assert chosen(rows, 0.1, seed=2) != held


def test_one_giant_repository_is_never_held_out(chosen: Chosen) -> None:
    held = chosen([*(("giant", f"d{n}/{n}.c", 10_000) for n in range(100)), ("a", "a.c", 10), ("b", "b.c", 10), ("c", "c.c", 10)], 0.02)
    assert held.level == "folder"
    assert 0 < held_bytes(held) <= 0.03 * 1_000_030


def test_a_language_in_one_folder_holds_out_documents(chosen: Chosen) -> None:
    held = chosen([("only", f"{n}.sql", 1000) for n in range(12)], 0.02)  # budget 240 bytes: less than any document
    assert held.level == "document"
    assert held.units["documents"].to_pylist() == [1]


@pytest.mark.parametrize(("documents", "share"), [(9, 0.2), (99, 0.0)])
def test_few_documents_or_no_share_hold_nothing_out(chosen: Chosen, documents: int, share: float) -> None:
    assert len(chosen([(f"r{n}", f"{n}", 10) for n in range(documents)], share).units) == 0
    assert len(chosen([(f"r{n}", f"{n}", 10) for n in range(10)], 0.2).units) > 0  # ten are enough
