"""Scoring documents: the mean of the head's scores of a file's sections (paper 2.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from megatron_snow.annotator.encoder import encoder_digest, find_encoder, load_encoder
from megatron_snow.annotator.head import Head
from megatron_snow.annotator.sampling import draw, ticket
from megatron_snow.annotator.sections import sections_of
from megatron_snow.common.errors import UserError
from megatron_snow.common.files import beside
from megatron_snow.common.records import Manifest, read_json
from megatron_snow.config import Recipe, Workspace
from megatron_snow.pipeline import DOCUMENT, Execution, ShardWriter, Stage, read_documents, run_stage, shards_in, tasks_by_shard

SCORED = DOCUMENT.append(pa.field("score", pa.float32()))

_CHUNK = 1024  # documents in memory at a time; long enough to sort sections by length, 10 MB of code


def score_documents(recipe: Recipe, workspace: Workspace) -> Manifest:
    """Score a seeded sample of annotator.score_documents documents (0: all) of the grouped corpus, shard by shard.

    Writes annotator/scores: the shards with a `score` column in [0, 1]. Documents that trained the head are scored like
    the others and counted as "documents_that_trained_the_head".
    """
    annotator = recipe.annotator
    head = workspace.annotator("head")
    head_files = (head / "head.safetensors", head / "head.json")
    if not all(path.is_file() for path in head_files):
        raise UserError(f"{head}: no trained head there; train the annotator first (megatron-snow annotate-corpus does)")
    shards = shards_in(workspace.corpus("grouped"))
    parameters = {
        "encoder": annotator.encoder,
        "encoder_digest": encoder_digest(find_encoder(annotator.encoder)),
        "section_tokens": annotator.section_tokens,
        "precision": annotator.precision,
        "seed": recipe.seed,
        "last_ticket": _last_ticket(shards, annotator.score_documents, recipe.seed),
    }
    stage = Stage("score_documents", 1, _score_shard, parameters)
    largest_first = sorted(shards, key=lambda shard: (-shard.stat().st_size, shard.name))  # so that no process ends long after the others
    tasks = tasks_by_shard(largest_first, also=head_files)
    return run_stage(stage, tasks, workspace.annotator("scores"), Execution("pool", recipe.workers))


def _last_ticket(shards: Sequence[Path], count: int, seed: int) -> str:
    """The highest ticket that is still in the sample of `count` documents; 0: all are."""
    if not count:
        return "g"  # after every hexadecimal digit
    return max(draw(shards, count, seed, "score", lambda repository: True).values(), default="")


def _score_shard(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> dict[str, int]:
    shard, weights, description = inputs
    encoder = load_encoder(parameters["encoder"], parameters["section_tokens"], parameters["precision"])
    head = Head.load(weights, encoder.width)
    trained = set(read_json(description)["documents"])
    counts = {"documents": 0, "documents_that_trained_the_head": 0, "documents_not_sampled": 0, "sections": 0}
    chunk: list[dict[str, Any]] = []
    with ShardWriter(beside(prefix, ".parquet"), SCORED) as writer:

        def flush() -> None:
            documents = sections_of([row["content"] for row in chunk], encoder)
            features = encoder.embed([section for sections in documents for section in sections])
            for row, score in zip(chunk, _means(head.score(features), documents)):
                writer.write(row | {"score": score})
            counts["sections"] += len(features)
            chunk.clear()

        for row in read_documents(shard, DOCUMENT.names):
            if ticket(parameters["seed"], "score", row["id"]) > parameters["last_ticket"]:
                counts["documents_not_sampled"] += 1
                continue
            counts["documents"] += 1
            counts["documents_that_trained_the_head"] += row["id"] in trained
            chunk.append(row)
            if len(chunk) == _CHUNK:
                flush()
        if chunk:
            flush()
    return counts


def _means(scores: np.ndarray, documents: Sequence[Sequence[Any]]) -> list[float]:
    """The mean score of each document's sections."""
    ends = np.cumsum([len(sections) for sections in documents])
    return [float(part.mean()) for part in np.split(scores, ends[:-1])]
