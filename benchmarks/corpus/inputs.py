"""What the corpus benchmarks read: the fetched repositories, collected once, and JSONL of a given size made of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

from benchmarks.fetch_repositories import default_cache
from benchmarks.harness import CACHE, megatron_snow, run
from megatron_snow.common.errors import UserError
from megatron_snow.common.files import atomic_file
from megatron_snow.pipeline import read_documents, shards_in

INPUTS = CACHE / "benchmarks"


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


def json_lines(megabytes: int) -> Path:
    """A JSONL file of the first documents that together have this much text: id, repository, path, language, content."""
    large = megabytes > 400  # what the smaller set has, about
    path = INPUTS / f"{megabytes}.jsonl"
    if path.is_file():
        return path
    size = 0
    with atomic_file(path) as file:
        for shard in collected(large):
            for row in read_documents(shard, ["id", "repository", "path", "language", "licence_kind", "size", "content"]):
                if row["size"] and size < megabytes * 1_000_000:
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
                    size += row["size"]
    if size < megabytes * 1_000_000:
        raise UserError(f"{path}: the repositories have {size / 1e6:.0f} MB; run benchmarks/fetch_repositories.py --large, or ask for less")
    return path


def texts(megabytes: int) -> list[str]:
    """The texts of `json_lines`."""
    with open(json_lines(megabytes), encoding="utf-8") as file:
        return [json.loads(line)["content"] for line in file]
