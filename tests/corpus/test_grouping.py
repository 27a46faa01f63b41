"""Groups lie together in a seeded order, nothing is lost, and what is held out is apart."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest

from megatron_snow.config import Corpus, Source, load_recipe
from megatron_snow.corpus.grouping import cuts, passes, plan
from megatron_snow.corpus.grouping.comparison import GROUPINGS
from megatron_snow.corpus.stages import collect, decontaminate, deduplicate, filter_documents, group
from megatron_snow.pipeline import Execution, read_documents, shards_in

Rows = list[dict[str, Any]]


def rows_of(shards: list[Path]) -> Rows:
    return [row for shard in shards for row in read_documents(shard)]


@pytest.fixture(scope="module")
def collected(checkouts: Path, mixed: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("collected")
    collect(Corpus(sources=(Source("folder", str(checkouts)), Source("folder", str(mixed)))), 1, folder)
    return shards_in(folder)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one repository of Python, C and SQL."""
    root = tmp_path_factory.mktemp("mixed")
    files = {"lib/base.py": "ONE = 1\n", "lib/a_user.py": "from lib import base\n", "setup.py": "import lib.a_user\n"}
    files |= {f"src/{n}.c": f"int f{n}(void) {{ return {n}; }}\n" for n in range(12)}
    files |= {f"db/{n}.sql": f"SELECT {n} FROM t;\n" for n in range(12)}
    for path, text in files.items():
        (root / "mixed" / path).parent.mkdir(parents=True, exist_ok=True)
        (root / "mixed" / path).write_text(text)
    return root


def test_rows_of_a_group_are_consecutive_and_nothing_is_lost(collected: list[Path], tmp_path: Path) -> None:
    manifest = group(Corpus(held_out_share=0.1), 1, collected, tmp_path / "grouped", tmp_path / "held_out")
    training, held_out = rows_of(shards_in(tmp_path / "grouped")), rows_of(shards_in(tmp_path / "held_out"))
    assert Counter(row["provenance"] for row in training + held_out) == Counter(row["provenance"] for row in rows_of(collected))
    assert manifest.counts["kept"] == len(training)
    for shard in shards_in(tmp_path / "grouped"):
        rows = rows_of([shard])
        runs = [name for name, _ in groupby(row["group"] for row in rows)]
        assert len(runs) == len(set(runs))
        assert {row["language"].replace(" ", "-") for row in rows} == {shard.stem.rpartition("-")[0]}
        assert all(row["group"] == f"{row['language']}/{row['repository']}" for row in rows)


def test_file_order_in_a_group_is_seeded_and_random(collected: list[Path], tmp_path: Path) -> None:
    paths = {}
    for seed in (1, 2):
        group(Corpus(held_out_share=0.0), seed, collected, tmp_path / f"{seed}", tmp_path / f"held-{seed}")
        rows = rows_of(shards_in(tmp_path / f"{seed}"))
        paths[seed] = [row["path"] for row in rows if row["group"] == "Python/asyncio"]
    assert sorted(paths[1]) == sorted(paths[2])
    assert paths[1] != paths[2]
    assert paths[1] != sorted(paths[1])


def test_result_does_not_depend_on_the_shards_or_workers(collected: list[Path], tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    rows = rows_of(collected)
    random.Random(3).shuffle(rows)
    shuffled = [write_shard(tmp_path / "in" / f"{n}.parquet", *rows[n::3]) for n in range(3)]
    one = group(Corpus(held_out_share=0.1), 1, collected, tmp_path / "a", tmp_path / "a-held", Execution("pool", 1))
    two = group(Corpus(held_out_share=0.1), 1, shuffled, tmp_path / "b", tmp_path / "b-held", Execution("pool", 2))
    assert one.outputs == two.outputs


def test_repo_and_repo_language_mix_languages_in_one_dataset(collected: list[Path], tmp_path: Path) -> None:
    languages = {}
    for grouping in ("repo", "repo-language"):
        group(Corpus(held_out_share=0.1, grouping=grouping), 1, collected, tmp_path / grouping, tmp_path / f"{grouping}-held")
        rows = rows_of(shards_in(tmp_path / grouping))
        assert {path.stem.rpartition("-")[0] for path in shards_in(tmp_path / grouping)} == {"all"}
        assert all(row["group"] == row["repository"] for row in rows)
        languages[grouping] = {name: [row["language"] for row in rows] for name, rows in groupby(rows, key=itemgetter("group"))}
    assert set(languages["repo"]["mixed"]) >= {"C", "Python", "SQL"}
    assert languages["repo"]["mixed"] != sorted(languages["repo"]["mixed"])
    assert all(names == sorted(names) for names in languages["repo-language"].values())
    assert Counter(languages["repo-language"]["mixed"]) == Counter(languages["repo"]["mixed"])


def test_file_makes_each_file_a_group(collected: list[Path], tmp_path: Path) -> None:
    group(Corpus(held_out_share=0.1, grouping="file"), 1, collected, tmp_path / "a", tmp_path / "a-held")
    rows = rows_of(shards_in(tmp_path / "a"))
    assert len({row["group"] for row in rows}) == len(rows)
    repositories = [row["repository"] for row in rows if row["language"] == "Python"]
    assert len(list(groupby(repositories))) > 2 * len(set(repositories))  # they do not lie together


def test_held_out_documents_and_their_order_are_the_same_under_every_setting(collected: list[Path], tmp_path: Path) -> None:
    settings: list[dict[str, Any]] = [
        {},
        *({"grouping": name} for name in ("file", "repo", "repo-language")),
        *({"file_order": name} for name in ("path", "imports")),
        {"header_share": 1.0},
    ]
    found = []
    for number, changes in enumerate(settings):
        group(Corpus(held_out_share=0.1, **changes), 1, collected, tmp_path / f"{number}", tmp_path / f"held-{number}")
        found.append(rows_of(shards_in(tmp_path / f"held-{number}")))
    assert len(found[0]) > 5
    assert all(rows == found[0] for rows in found)


@pytest.mark.parametrize("grouping", ["language-repo", "repo", "repo-language"])
@pytest.mark.parametrize("file_order", ["random", "path", "imports"])
def test_a_group_larger_than_a_shard_goes_on_in_the_next(
    collected: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grouping: Any, file_order: Any
) -> None:
    """The documents are those of whole groups, in the same order, whatever the size of a shard."""
    corpus = Corpus(held_out_share=0.1, grouping=grouping, file_order=file_order, header_share=0.5)
    group(corpus, 1, collected, tmp_path / "whole", tmp_path / "whole-held")
    for module in (cuts, plan, passes):
        monkeypatch.setattr(module, "SHARD_BYTES", 50_000)
    group(corpus, 1, collected, tmp_path / "cut", tmp_path / "cut-held")
    for name in ("", "-held"):
        whole, cut = (shards_in(tmp_path / f"{kind}{name}") for kind in ("whole", "cut"))
        assert len(cut) > len(whole)
        assert rows_of(cut) == rows_of(whole)
    sizes = [sum(row["size"] for row in rows_of([shard])) for shard in shards_in(tmp_path / "cut")]
    assert max(sizes) < 2 * 50_000 + max(row["size"] for row in rows_of(collected))
    spread = Counter(name for shard in shards_in(tmp_path / "cut") for name in {row["group"] for row in rows_of([shard])})
    assert max(spread.values()) > 2


def test_files_by_path_and_by_imports(collected: list[Path], tmp_path: Path) -> None:
    for file_order in ("path", "imports"):
        corpus = Corpus(held_out_share=0.0, grouping="repo", file_order=file_order)
        group(corpus, 1, collected, tmp_path / file_order, tmp_path / f"{file_order}-held")
    by_path, by_imports = (
        {name: [row["path"] for row in rows] for name, rows in groupby(rows_of(shards_in(tmp_path / order)), key=itemgetter("group"))}
        for order in ("path", "imports")
    )
    assert all(paths == sorted(paths) for paths in by_path.values())
    mixed = by_imports["mixed"]
    assert mixed.index("lib/base.py") < mixed.index("lib/a_user.py")
    parsed = [path.endswith(".py") for path in mixed]
    assert parsed == sorted(parsed, reverse=True)  # what imports nothing comes after
    assert [path for path in mixed if not path.endswith(".py")] == sorted(path for path in mixed if not path.endswith(".py"))


def test_memory_does_not_change_the_shards(collected: list[Path], tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    pieces = [write_shard(tmp_path / "in" / f"{n}.parquet", *rows_of(collected)[n::5]) for n in range(5)]
    small = group(Corpus(memory_bytes=10_000_000), 1, pieces, tmp_path / "a", tmp_path / "a-held")
    large = group(Corpus(), 1, pieces, tmp_path / "b", tmp_path / "b-held")
    assert small.outputs == large.outputs


def test_lines_in_give_the_same_as_parquet(collected: list[Path], tmp_path: Path) -> None:
    rows = rows_of(collected)
    lines = tmp_path / "in.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    by_lines = group(Corpus(), 1, [lines], tmp_path / "a", tmp_path / "a-held")
    assert by_lines.outputs == group(Corpus(), 1, collected, tmp_path / "b", tmp_path / "b-held").outputs


def test_nulls_strangers_columns_and_a_second_grouping(tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    """Foreign shards miss values; a grouped shard already has the columns that are added."""
    null: dict[str, Any] = {"repository": None, "language": None, "path": None, "content": "x = 1\n"}
    shard = write_shard(tmp_path / "in" / "s.parquet", null, {"content": "y = 2\n"})
    once = group(Corpus(header_share=1.0), 1, [shard], tmp_path / "a", tmp_path / "a-held")
    assert set(once.outputs) == {"unknown-00000.parquet", "Python-00000.parquet"}
    twice = group(Corpus(header_share=1.0), 1, shards_in(tmp_path / "a"), tmp_path / "b", tmp_path / "b-held")
    assert twice.outputs == once.outputs


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_a_row_of_table_3_is_one_key_of_the_papers_recipe(grouping: Any) -> None:
    recipes = Path(__file__).parents[2] / "examples" / "recipes"
    paper = load_recipe(recipes / "snowcoder_1b3.yaml")
    row = load_recipe(recipes / "snowcoder_1b3.yaml", [f"corpus.grouping={grouping}"])
    assert replace(row, corpus=replace(row.corpus, grouping="language-repo")) == paper


def test_empty_corpus_passes_every_stage(tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    shard = write_shard(tmp_path / "in" / "s.parquet", {"content": "=" * 2000})
    filter_documents(Corpus(), [shard], tmp_path / "filtered")
    deduplicate(Corpus(), shards_in(tmp_path / "filtered"), tmp_path / "deduplicated")
    decontaminate(Corpus(), shards_in(tmp_path / "deduplicated"), tmp_path / "clean")
    manifest = group(Corpus(), 1, shards_in(tmp_path / "clean"), tmp_path / "grouped", tmp_path / "held_out")
    assert manifest.outputs == {}
