"""report.json: what the stage found, by benchmark; and the same as a table."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from megatron_snow.common.records import Manifest, read_json, read_json_lines, write_json
from megatron_snow.corpus.decontamination.lock import LOCK
from megatron_snow.corpus.decontamination.search import HITS

REPORT = "report.json"
KINDS = ("docstring", "prompt", "solution", "test")
_MOST_HIT = 10


def write_report(output: Path, manifest: Manifest) -> None:
    """OUTPUT/report.json from the hits beside the shards, the lock and the counts."""
    hits: dict[str, Counter[str]] = defaultdict(Counter)
    documents: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    tasks: dict[str, dict[str, set[tuple[str, ...]]]] = defaultdict(lambda: defaultdict(set))
    for path in sorted(output.glob(f"*{HITS}")):
        for hit in read_json_lines(path):
            document = (path.name, *(str(hit[name]) for name in ("id", "repository", "path")))
            hits[hit["benchmark"]][hit["kind"]] += 1
            documents[hit["benchmark"]].add(document)
            tasks[hit["benchmark"]][hit["task"]].add(document)
    entries = {}
    for entry in read_json(output / LOCK)["benchmarks"]:
        name = entry["name"]
        most = sorted(tasks[name].items(), key=lambda item: (-len(item[1]), item[0]))[:_MOST_HIT]
        entries[name] = {
            "problems": entry["problems"],
            "needles": entry["needles"],
            "trivial": dict(sorted(Counter(needle["reason"] for needle in entry["trivial"]).items())),
            "tasks_hit": len(tasks[name]),
            "documents_hit": len(documents[name]),
            "hits": {kind: hits[name][kind] for kind in KINDS},
            "most_hit": [{"task": task, "documents": len(found)} for task, found in most],
            "semantic": {kind: manifest.counts.get(f"semantic:{name}:{kind}", 0) for kind in ("renamed", "similar")},
        }
    write_json(output / REPORT, {"documents": _documents(manifest.counts), "benchmarks": entries})


def _documents(counts: Mapping[str, int]) -> dict[str, int]:
    total, kept = counts.get("documents", 0), counts.get("kept", 0)
    return {"documents": total, "kept": kept, "dropped": total - kept}


def table_of(report: Mapping[str, Any]) -> str:
    """The report as text for a terminal."""
    head = ("benchmark", "problems", "tasks hit", "documents", *KINDS, "semantic", "trivial")
    rows = [head, *(_row(name, entry) for name, entry in report["benchmarks"].items())]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows)


def _row(name: str, entry: Mapping[str, Any]) -> tuple[str, ...]:
    sums = [sum(entry[key].values()) for key in ("semantic", "trivial")]
    return (name, *map(str, (entry["problems"], entry["tasks_hit"], entry["documents_hit"], *entry["hits"].values(), *sums)))
