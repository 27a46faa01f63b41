"""How languages were told: linguist's answer for each document against the usual one of its ending, and against what the source said."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from megatron_snow.common.files import beside
from megatron_snow.common.records import write_json
from megatron_snow.corpus.language import linguist_language
from megatron_snow.pipeline import INLINE, Execution, Stage, batches_of, run_stage, tasks_by_shard

REPORT = "languages.json"
_COLUMNS = ("path", "language", "content")
_NONE = "(none)"


def language_report(inputs: Sequence[Path], output: Path, execution: Execution = INLINE) -> dict[str, Any]:
    """Write OUTPUT/languages.json and return it.

    documents: how many; by_ending and by_source: {agree: share, confusions: [{ending, usual or said, linguist, documents}]}, the
    most frequent first. An ending's usual language is the one that most of its documents here have, so that `agree` is what
    naming languages by endings alone would get at best.
    """
    manifest = run_stage(Stage("language-report", 1, compare_shard, suffixes=(".json",)), tasks_by_shard(inputs), output, execution)
    documents = manifest.counts.get("documents", 0)
    rows = [(*key.split("\t"), count) for key, count in manifest.counts.items() if key != "documents"]
    endings = [(ending, language, count) for what, ending, language, count in (row for row in rows if row[0] == "ending")]
    usual = {ending: language for ending, language, _ in sorted(endings, key=lambda row: (row[2], row[1]))}  # the last is the largest
    report = {
        "documents": documents,
        "by_ending": _section(
            "usual", [(e, usual[e], language, count) for e, language, count in endings if language != usual[e]], documents
        ),
        "by_source": _section("said", [row[1:] for row in rows if row[0] == "source"], documents),
    }
    if not execution.explains:
        write_json(output / REPORT, report)
    return report


def _section(other: str, rows: Sequence[tuple[Any, ...]], documents: int) -> dict[str, Any]:
    ordered = sorted(rows, key=lambda row: (-row[3], row))
    confusions = [dict(zip(("ending", other, "linguist", "documents"), row)) for row in ordered]
    return {"agree": round(1 - sum(row[3] for row in rows) / documents, 6) if documents else None, "confusions": confusions}


def compare_shard(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: a shard's languages by ending, and what the source said otherwise, counted."""
    counts: Counter[str] = Counter()
    for batch in batches_of(inputs[0], _COLUMNS, parameters.get("piece")):
        for path, said, content in zip(*(batch[name].to_pylist() for name in _COLUMNS)):
            counts["documents"] += 1
            ending = " ".join(posixpath.splitext(path or "")[1].lower().split()) or _NONE  # a tab parts the key
            language = linguist_language(path or "", (content or "").encode()) or _NONE
            counts[f"ending\t{ending}\t{language}"] += 1
            said = " ".join((said or "").split())
            if said and said != language:
                counts[f"source\t{ending}\t{said}\t{language}"] += 1
    write_json(beside(prefix, ".json"), dict(sorted(counts.items())))
    return counts
