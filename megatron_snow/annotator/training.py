"""Training the annotator: positives of the repositories the recipe names, negatives of all others.

Never benchmark solutions: an annotator trained on them would select for the test (fact sheet 6c).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from megatron_snow.annotator.encoder import Encoder, encoder_digest, find_encoder, load_encoder, one_thread
from megatron_snow.annotator.head import fit_head, roc_auc
from megatron_snow.annotator.sampling import draw, ticket
from megatron_snow.annotator.sections import sections_of
from megatron_snow.common.errors import UserError, nearest
from megatron_snow.common.files import beside
from megatron_snow.common.records import Manifest, write_json
from megatron_snow.config import Recipe, Workspace
from megatron_snow.pipeline import Stage, Task, read_documents, run_stage, shards_in

HELD_OUT = 0.1  # of the documents of each class
_LEAST = 10  # documents of a class: fewer give no held-out figure worth reading


def train_annotator(recipe: Recipe, workspace: Workspace) -> Manifest:
    """Train the head on the grouped corpus; writes annotator/head/head.safetensors and head.json (with its AUC)."""
    annotator = recipe.annotator
    if not annotator.positives:
        raise UserError("annotator.positives: no repositories named; name some whose code is good, for example ['python:stdlib']")
    parameters = {
        "encoder": annotator.encoder,
        "encoder_digest": encoder_digest(find_encoder(annotator.encoder)),
        "section_tokens": annotator.section_tokens,
        "precision": annotator.precision,
        "positives": list(annotator.positives),
        "documents_per_class": annotator.documents_per_class,
        "seed": recipe.seed,
    }
    shards = tuple(shards_in(workspace.corpus("grouped")))
    stage = Stage("train_annotator", 1, _train, parameters, (".safetensors", ".json"))
    return run_stage(stage, [Task("head", shards)], workspace.annotator("head"))


def matches(repository: str, patterns: Sequence[str]) -> bool:
    """Whether a repository is named by one of the patterns: exactly, or by its beginning before a trailing *."""
    return any(repository.startswith(pattern[:-1]) if pattern.endswith("*") else repository == pattern for pattern in patterns)


def _train(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> dict[str, int]:
    seed, patterns, count = parameters["seed"], parameters["positives"], parameters["documents_per_class"]
    positives = set(draw(inputs, count, seed, "positive", lambda repository: matches(repository, patterns)))
    negatives = set(draw(inputs, count, seed, "negative", lambda repository: not matches(repository, patterns)))
    _check_classes(inputs, positives, negatives, patterns)
    rows = _rows(inputs, lambda document_id: document_id in positives or document_id in negatives)
    labels = np.array([row["id"] in positives for row in rows])
    held_out = _held_out([row["id"] for row in rows], labels, seed)

    encoder = load_encoder(parameters["encoder"], parameters["section_tokens"], parameters["precision"])
    features, owner = _features(encoder, [row["content"] for row in rows])
    weights = 1.0 / np.bincount(owner)[owner]  # a document counts once, however many sections it has
    fit = ~held_out[owner]
    with one_thread():
        head = fit_head(features[fit], labels[owner][fit], weights[fit])
    scores = np.bincount(owner, weights=head.score(features) * weights)
    head.save(beside(prefix, ".safetensors"))
    report = _report(rows, scores, labels, held_out) | {"pooling": encoder.pooling, **parameters}
    write_json(beside(prefix, ".json"), report | {"documents": sorted(positives | negatives)})
    return {
        "positives": len(positives),
        "negatives": len(negatives),
        "held_out_documents": int(held_out.sum()),
        "sections": len(owner),
        "held_out_auc_permille": round(1000 * report["held_out_auc"]),
    }


def _rows(inputs: Sequence[Path], wanted: Callable[[str], bool]) -> list[dict[str, Any]]:
    """The wanted documents, each once, in the order of their ids."""
    columns = ["id", "language", "content"]
    rows = {row["id"]: row for shard in inputs for row in read_documents(shard, columns) if wanted(row["id"])}
    return [rows[document_id] for document_id in sorted(rows)]


def _features(encoder: Encoder, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Features of all sections and, for each, the number of its document."""
    documents = sections_of(texts, encoder)
    owner = np.repeat(np.arange(len(documents)), [len(sections) for sections in documents])
    return encoder.embed([section for sections in documents for section in sections], "embed training set"), owner


def _held_out(ids: Sequence[str], labels: np.ndarray, seed: int) -> np.ndarray:
    """A seeded tenth of each class, bool[documents]."""
    held_out = np.zeros(len(ids), bool)
    for label in (True, False):
        members = sorted(np.flatnonzero(labels == label), key=lambda i: ticket(seed, "held out", ids[i]))
        held_out[members[: max(1, round(HELD_OUT * len(members)))]] = True
    return held_out


def _report(rows: Sequence[Mapping[str, Any]], scores: np.ndarray, labels: np.ndarray, held_out: np.ndarray) -> dict[str, Any]:
    """Held-out AUC, over all and within each language: the former also rewards telling languages apart."""
    languages = np.array([row["language"] for row in rows])
    by_language = {}
    for language in sorted(set(languages[held_out])):
        part = held_out & (languages == language)
        auc = roc_auc(scores[part], labels[part])
        if not math.isnan(auc):
            by_language[language] = {"positives": int(labels[part].sum()), "negatives": int((~labels[part]).sum()), "auc": round(auc, 4)}
    return {
        "held_out_auc": round(roc_auc(scores[held_out], labels[held_out]), 4),
        "train_auc": round(roc_auc(scores[~held_out], labels[~held_out]), 4),
        "held_out_auc_by_language": by_language,
    }


def _check_classes(inputs: Sequence[Path], positives: set[str], negatives: set[str], patterns: Sequence[str]) -> None:
    if min(len(positives), len(negatives)) >= _LEAST:
        return
    repositories = sorted({row["repository"] for shard in inputs for row in read_documents(shard, ["repository"])})
    which, count = ("positives", len(positives)) if len(positives) < _LEAST else ("negatives", len(negatives))
    unknown = [pattern for pattern in patterns if not any(matches(repository, [pattern]) for repository in repositories)]
    hint = nearest(unknown[0].rstrip("*"), repositories) if unknown else ""
    raise UserError(
        f"annotator.positives: {list(patterns)} gives {count} {which} of {len(repositories)} repositories in {inputs[0].parent}, "
        f"at least {_LEAST} are needed{f'; {unknown[0]!r} names none' if unknown else ''}{hint}"
    )
