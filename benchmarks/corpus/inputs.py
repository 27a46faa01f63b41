"""What the corpus benchmarks read: the fetched repositories, collected once, and JSONL of a given size made of them."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

from benchmarks.fetch_repositories import default_cache
from benchmarks.harness import CACHE, megatron_snow, run
from megatron_snow.common.checksums import text_digest
from megatron_snow.common.errors import UserError
from megatron_snow.common.files import atomic_file
from megatron_snow.pipeline import batches_of, read_documents, shards_in

INPUTS = CACHE / "benchmarks"
_REPOSITORIES = 40  # that a file is made of at least, so that it has many languages: no repository has more than its share
_SMALL_MEGABYTES = 200  # what the set without `large` gives so


def archives(large: bool = False) -> list[str]:
    """--source options for the fetched repositories."""
    folders = [folder for folder in sorted((default_cache() / "archives").glob("*")) if large or folder.name != "large"]
    if not folders:
        raise UserError(f"{default_cache()}: no repositories; run benchmarks/fetch_repositories.py first")
    return [option for folder in folders for option in ("--source", f"archive:{folder}/*")]


def collected(large: bool = False) -> list[Path]:
    """The shards of all fetched repositories, in the seeded order of repositories; made once."""
    folder = INPUTS / ("collected-large" if large else "collected")
    run(megatron_snow("collect-corpus", *archives(large), "--output", folder, "--workers", str(os.cpu_count() or 1)))
    return shards_in(folder)


def archives_with(megabytes: int) -> list[Path]:
    """Archives, in an order by their names' digests, that together have this much text: each is taken that still fits."""
    sizes: Counter[str] = Counter()
    for shard in collected(megabytes > _SMALL_MEGABYTES):
        for batch in batches_of(shard, ["provenance", "size"]):
            for provenance, size in zip(batch["provenance"].to_pylist(), batch["size"].to_pylist()):
                sizes[provenance.partition("!")[0]] += size
    chosen, total = [], 0
    for name in sorted(sizes, key=lambda name: text_digest(Path(name).name)):
        if total + sizes[name] <= megabytes * 1_000_000:
            chosen.append(Path(name))
            total += sizes[name]
    if total < 0.9 * megabytes * 1_000_000:
        raise UserError(f"the repositories give {total / 1e6:.0f} of {megabytes} MB; run benchmarks/fetch_repositories.py --large")
    return chosen


def json_lines(megabytes: int) -> Path:
    """A JSONL file of this much text: id, repository, path, language, licence_kind, size and content of each document."""
    path, most = INPUTS / f"{megabytes}.jsonl", megabytes * 1_000_000
    if path.is_file():
        return path
    sizes: Counter[str] = Counter()
    with atomic_file(path) as file:
        for shard in collected(megabytes > _SMALL_MEGABYTES):
            for row in read_documents(shard, ["id", "repository", "path", "language", "licence_kind", "size", "content"]):
                repository = row["repository"]
                if row["size"] and sizes.total() < most and sizes[repository] + row["size"] <= most // _REPOSITORIES:
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
                    sizes[repository] += row["size"]
        if sizes.total() < 0.9 * most:
            raise UserError(
                f"the repositories give {sizes.total() / 1e6:.0f} MB; run benchmarks/fetch_repositories.py --large, or ask for less"
            )
    return path


def texts(megabytes: int) -> list[str]:
    """The texts of `json_lines`."""
    with open(json_lines(megabytes), encoding="utf-8") as file:
        return [json.loads(line)["content"] for line in file]
