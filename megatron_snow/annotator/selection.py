"""Selecting the top-ranked tokens: per language, keeping the corpus's language mix (paper 2.3).

The corpus's mix is measured in tokens: bytes of each language in the whole corpus times the tokens a
byte has in its scored documents. Each language is then ranked by itself and its best documents are
taken until its share of the budget is used.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from megatron_snow.annotator.scoring import SCORED
from megatron_snow.common.errors import UserError
from megatron_snow.common.files import beside
from megatron_snow.common.records import Manifest
from megatron_snow.common.shares import apportion
from megatron_snow.config import Recipe, Workspace
from megatron_snow.pipeline import (
    Execution,
    ShardWriter,
    Stage,
    Task,
    read_documents,
    read_table,
    run_stage,
    shards_in,
    tasks_by_shard,
    write_table,
)
from megatron_snow.tokenizers import load_tokenizer

SELECTED = SCORED.append(pa.field("group", pa.string()))

# A budget counts as used from here on. A document that does not fit in what is left is passed over;
# without this line the last tokens would be filled from ever further down the ranking.
_USED = 0.98
_BATCH = 256  # documents tokenized at a time


def select_top(recipe: Recipe, workspace: Workspace) -> Manifest:
    """Take the top-scored documents of each language up to annotator.select_tokens tokens in all.

    Writes annotator/selected: a shard a language, rows with `score` and `group` (LANGUAGE/repository, consecutive).
    Tokens are counted with the recipe's tokenizer, one more a document for its separator.
    """
    budget = recipe.annotator.select_tokens
    if budget < 1:
        raise UserError(f"annotator.select_tokens: {budget} is below 1; say how many top-ranked tokens phase 2 repeats")
    scores = shards_in(workspace.annotator("scores"))
    lengths = _count_tokens(recipe, workspace, scores)
    budgets = apportion(budget, _corpus_tokens(shards_in(workspace.corpus("grouped")), lengths))
    tasks = []
    for language, share in sorted(budgets.items()):
        inputs = [path for path in scores if _language_file(path) == language]
        inputs += [workspace.annotator("lengths") / path.name for path in inputs]
        tasks.append(Task(f"{language}-00000", tuple(inputs), {"budget": share}))
    stage = Stage("select_top", 1, _select, {"select_tokens": budget})
    return run_stage(stage, tasks, workspace.annotator("selected"), Execution("pool", recipe.workers))


def take_top(rows: Iterable[tuple[float, str, int]], budget: int) -> list[str]:
    """Ids of the best (score, id, tokens) within `budget` tokens: highest score first, ties by id."""
    taken, used = [], 0
    for _, document_id, tokens in sorted(rows, key=lambda row: (-row[0], row[1])):
        if used >= _USED * budget:
            break
        if used + tokens <= budget:
            taken.append(document_id)
            used += tokens
    return taken


def _count_tokens(recipe: Recipe, workspace: Workspace, scores: Sequence[Path]) -> list[Path]:
    """annotator/lengths: id, bytes and tokens of every scored document; its shards."""
    model = Path(recipe.tokenizer.model) if recipe.tokenizer.model else workspace.tokenizer_model
    if not model.exists():
        raise UserError(f"{model}: no tokenizer model there; run megatron-snow train-tokenizer first, or set tokenizer.model")
    output, parameters = workspace.annotator("lengths"), {"tokenizer": load_tokenizer(model, engine="reference").digest}
    stage = Stage("count_tokens", 2, partial(_count_shard, model=model), parameters)
    run_stage(stage, tasks_by_shard(scores), output, Execution("pool", recipe.workers))
    return [output / path.name for path in scores]


def _count_shard(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any], *, model: Path) -> dict[str, int]:
    tokenizer = load_tokenizer(model)
    table = read_table(inputs[0], ["id", "size", "content"])
    tokens: list[int] = []
    for batch in _batches(table["content"]):
        tokens += (np.diff(tokenizer.encode_batch(batch)[1], prepend=0) + 1).tolist()
    write_table(table.drop_columns(["content"]).append_column("tokens", pa.array(tokens, pa.int64())), beside(prefix, ".parquet"))
    return {"documents": len(tokens), "tokens": sum(tokens)}


def _batches(column: pa.ChunkedArray) -> Iterable[list[str]]:
    for start in range(0, len(column), _BATCH):
        yield column.slice(start, _BATCH).to_pylist()


def _corpus_tokens(grouped: Sequence[Path], lengths: Sequence[Path]) -> dict[str, float]:
    """Estimated tokens of each language in the whole corpus; languages without a scored document are left out."""
    sizes: dict[str, int] = defaultdict(int)
    for path in grouped:
        sizes[_language_file(path)] += sum(read_table(path, ["size"])["size"].to_pylist())
    scored: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for path in lengths:
        table = read_table(path, ["size", "tokens"])
        scored[_language_file(path)][0] += sum(table["size"].to_pylist())
        scored[_language_file(path)][1] += sum(table["tokens"].to_pylist())
    return {language: size * scored[language][1] / scored[language][0] for language, size in sizes.items() if scored[language][0]}


def _language_file(shard: Path) -> str:
    """The language's part of a shard's name: C++-00000.parquet -> C++."""
    return shard.stem.rpartition("-")[0]


def _select(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> dict[str, int]:
    scores, lengths = inputs[: len(inputs) // 2], inputs[len(inputs) // 2 :]
    tokens = {row["id"]: row["tokens"] for path in lengths for row in read_documents(path, ["id", "tokens"])}
    ranking = [(row["score"], row["id"], tokens[row["id"]]) for path in scores for row in read_documents(path, ["id", "score"])]
    taken = set(take_top(ranking, parameters["budget"]))
    rows = [row for path in scores for row in read_documents(path) if row["id"] in taken]
    for row in rows:
        row["group"] = f"{row['language']}/{row['repository']}"
    first = {group: number for number, group in reversed(list(enumerate(row["group"] for row in rows)))}
    rows.sort(key=lambda row: first[row["group"]])  # a group's rows together, otherwise the corpus's order
    with ShardWriter(beside(prefix, ".parquet"), SELECTED) as writer:
        for row in rows:
            writer.write(row)
    used = sum(tokens[document_id] for document_id in taken)
    return {
        "documents_ranked": len(ranking),
        "documents": len(rows),
        "tokens": used,
        "tokens_short_of_budget": parameters["budget"] - used,
        f"tokens:{_language_file(inputs[0])}": used,
    }
