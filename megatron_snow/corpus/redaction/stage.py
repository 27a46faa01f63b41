"""The redaction stage: the same documents in the same shards, without secrets and addresses, and a log of each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc

from megatron_snow.common.checksums import bytes_digest
from megatron_snow.common.files import beside
from megatron_snow.common.records import Manifest
from megatron_snow.config import Corpus, Redaction
from megatron_snow.corpus.outcome import REJECTS, Outcome
from megatron_snow.corpus.redaction.texts import Finding, redact_texts
from megatron_snow.pipeline import INLINE, Execution, Stage, batches_of, run_stage, schema_of, tasks_by_shard, texts_of

LOG = ".redactions.jsonl"  # beside a shard: id (before and after), repository, path; kind, detector, line, start, end


def redact(corpus: Corpus, inputs: list[Path], output: Path, execution: Execution = INLINE) -> Manifest:
    """Replace what the settings look for. No document is dropped; id and size are of the new text."""
    stage = Stage("redact", 1, redact_shard, asdict(corpus.redaction), (".parquet", LOG, REJECTS))
    return run_stage(stage, tasks_by_shard(inputs), output, execution)


def redact_shard(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: a shard's documents, redacted, and the log. Counts: redacted:KIND[:LANGUAGE], redacted_documents."""
    settings = Redaction(**{key: parameters[key] for key in ("secrets", "emails", "addresses")})
    shard = inputs[0]
    with Outcome(prefix, schema_of(shard)) as outcome, open(beside(prefix, LOG), "w", encoding="utf-8") as log:
        for batch in batches_of(shard, piece=parameters.get("piece")):
            changes = {number: (text, findings) for number, text, findings in redact_texts(texts_of(batch["content"]), settings)}
            redacted = _with_texts(batch, {number: text for number, (text, _) in changes.items()})
            for number, (_, findings) in changes.items():
                _log(log, batch.slice(number, 1), redacted["id"][number].as_py(), findings, outcome.tally)
            outcome.add(redacted, [""] * batch.num_rows)
    return outcome.tally


def _with_texts(batch: pa.Table, texts: Mapping[int, bytes]) -> pa.Table:
    """The batch with other texts in some rows; their sizes and ids follow."""
    if not texts:
        return batch
    mask = pa.array([number in texts for number in range(batch.num_rows)])
    ordered = [texts[number] for number in sorted(texts)]
    columns = {
        "content": pa.array(ordered, pa.binary()).cast(pa.string()),
        "size": pa.array([len(text) for text in ordered], pa.int64()),
        "id": pa.array([bytes_digest(text) for text in ordered], pa.string()),
    }
    for name, values in columns.items():
        column = batch[name].combine_chunks()
        replaced = pc.replace_with_mask(column, mask, values.cast(column.type))
        batch = batch.set_column(batch.column_names.index(name), batch.schema.field(name), replaced)
    return batch


def _log(log: IO[str], row: pa.Table, new_id: str, findings: Sequence[Finding], tally: dict[str, int]) -> None:
    facts = row.select(["id", "repository", "path", "language"]).to_pylist()[0]
    language = facts.pop("language") or ""
    tally["redacted_documents"] += 1
    for finding in findings:
        tally[f"redacted:{finding.kind}"] += 1
        tally[f"redacted:{finding.kind}:{language}"] += 1
        log.write(json.dumps({**facts, "new_id": new_id, **asdict(finding)}, ensure_ascii=False) + "\n")
