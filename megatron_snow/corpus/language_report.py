"""How languages were told: linguist's answer for each document against its ending's usual one, and against what the source said."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import enry

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
    most frequent first. An ending's usual language is linguist's for a file of that name without content.
    """
    manifest = run_stage(Stage("language-report", 1, compare_shard, suffixes=(".json",)), tasks_by_shard(inputs), output, execution)
    documents = manifest.counts.get("documents", 0)
    report = {"documents": documents} | {f"by_{what}": _section(manifest.counts, what, documents) for what in _AGAINST}
    write_json(output / REPORT, report)
    return report


_AGAINST = {"ending": "usual", "source": "said"}


def _section(counts: Mapping[str, int], what: str, documents: int) -> dict[str, Any]:
    rows = [(key.split("\t")[1:], count) for key, count in counts.items() if key.startswith(f"{what}\t")]
    confusions: list[dict[str, Any]] = [
        {"ending": ending, _AGAINST[what]: other, "linguist": language, "documents": count}
        for (ending, other, language), count in sorted(rows, key=lambda row: (-row[1], row[0]))
    ]
    agree = documents - sum(row["documents"] for row in confusions)
    return {"agree": round(agree / documents, 6) if documents else None, "confusions": confusions}


def compare_shard(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: a shard's confusions by ending, counted."""
    counts: Counter[str] = Counter()
    for batch in batches_of(inputs[0], _COLUMNS, parameters.get("piece")):
        for path, said, content in zip(*(batch[name].to_pylist() for name in _COLUMNS)):
            counts["documents"] += 1
            ending, usual = _usual(posixpath.basename(path or ""))
            language = linguist_language(path or "", (content or "").encode()) or _NONE
            if language != usual:
                counts[f"ending\t{ending}\t{usual}\t{language}"] += 1
            if said and said != language:
                counts[f"source\t{ending}\t{said}\t{language}"] += 1
    write_json(beside(prefix, ".json"), dict(sorted(counts.items())))
    return counts


def _usual(name: str) -> tuple[str, str]:
    """(ending, its usual language); of a file without an ending the name is looked at."""
    ending = posixpath.splitext(name)[1].lower()
    return (ending, _usual_of(f"name{ending}")) if ending else (_NONE, _usual_of(name))


@lru_cache(1 << 16)
def _usual_of(name: str) -> str:
    return next(iter(enry.get_languages(name, b"")), _NONE)
