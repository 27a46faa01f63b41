"""Checkpoints averaged into a new one, a weight at a time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from megatron_snow.checkpoint import Checkpoint, CheckpointStore, read_checkpoint
from megatron_snow.common.checksums import file_digest
from megatron_snow.common.errors import UserError
from megatron_snow.common.progress import progress_bar
from megatron_snow.common.records import MANIFEST
from megatron_snow.config import load_recipe, save_recipe
from megatron_snow.engine import TensorReader, write_tensors
from megatron_snow.tokenizers import load_tokenizer
from megatron_snow.training.averaging_weights import merge_weights
from megatron_snow.training.phases import Plan


def average_checkpoints(sources: Sequence[Path], kind: str, output: Path) -> Checkpoint:
    """Write the average of `sources`, folders of steps, as output/step-00000000: weights alone, as a model from elsewhere.

    Averaged in fp32, of a bf16 run the masters, and rounded once to the dtype of the last checkpoint. In memory is one weight at a time,
    as sum, addend and what is read or written: 4 x the largest in fp32 at most, whatever the number of checkpoints. Recipe and
    tokenizer are the last one's; `averaged` in state.yaml says what was averaged. UserError where sources do not belong together.
    """
    checkpoints = sorted((read_checkpoint(path) for path in sources), key=lambda checkpoint: checkpoint.step)
    readers = [TensorReader(checkpoint.model) for checkpoint in checkpoints]
    _check_alike(checkpoints, readers)
    recipe = load_recipe(checkpoints[-1].recipe)
    parts = merge_weights(kind, _tokens(checkpoints, kind))
    store = CheckpointStore(output, keep=1)
    if any(store.steps()):
        raise UserError(f"{output}: holds checkpoints of a run; the average becomes step 0 of another: choose another --output")

    def write(folder: Path) -> None:
        _write_average(folder / "model", readers, parts)
        save_recipe(recipe, folder / "recipe.yaml")
        load_tokenizer(checkpoints[-1].tokenizer, engine="reference").save(folder)

    record = {"weights": kind, "checkpoints": [_record(*each) for each in zip(checkpoints, parts)]}
    state = {"samples": 0, "tokens": 0, "phase": checkpoints[-1].state.get("phase"), "averaged": record}
    return read_checkpoint(store.save(0, write, state, keep_forever=True), weights=False)


def rates_between(sources: Sequence[Path]) -> tuple[float, float] | None:
    """(lowest, highest) learning rate of the steps from the first of these checkpoints to the last, by the last one's recipe.

    None where its recipe does not plan them, as that of an imported model.
    """
    first, *_, last = sorted((read_checkpoint(path, weights=False) for path in sources), key=lambda checkpoint: checkpoint.step)
    plan = Plan(load_recipe(last.recipe))
    if not first.step < last.step <= plan.steps:
        return None
    rates = [plan.step(number).learning_rate for number in range(first.step + 1, last.step + 1)]
    return min(rates), max(rates)


def _write_average(folder: Path, readers: Sequence[TensorReader], parts: Sequence[float]) -> None:
    weights = readers[-1].weights
    with progress_bar(sum(tensor.nbytes for tensor in weights.values()), label="average", unit="B") as bar:

        def average(name: str) -> Tensor:
            total = torch.zeros(weights[name].shape)
            for reader, part in zip(readers, parts):
                total.add_(reader.read(name), alpha=part)
            bar.update(weights[name].nbytes)
            return total

        write_tensors(folder, weights, average, readers[-1].common.without_optimizer())


def _tokens(checkpoints: Sequence[Checkpoint], kind: str) -> list[int]:
    tokens = [int(checkpoint.state.get("tokens", 0)) for checkpoint in checkpoints]
    if kind != "uniform" and any(after <= before for before, after in pairwise(tokens)):
        raise UserError(
            f"--weights {kind}: goes by the tokens seen, which are {tokens} and do not rise; take checkpoints of one run, or uniform"
        )
    return tokens


def _check_alike(checkpoints: Sequence[Checkpoint], readers: Sequence[TensorReader]) -> None:
    """One model and one vocabulary; the same checkpoint is not there twice."""
    if len(checkpoints) < 2:
        raise UserError(f"{len(checkpoints)} checkpoint to average; give two or more, or a larger --last")
    last, digests = checkpoints[-1], [file_digest(checkpoint.path / MANIFEST) for checkpoint in checkpoints]
    shapes = {name: tensor.shape for name, tensor in readers[-1].weights.items()}
    tokenizer = load_tokenizer(last.tokenizer, engine="reference").digest
    for checkpoint, reader, digest in zip(checkpoints, readers, digests):
        if digests.count(digest) > 1:
            raise UserError(f"{checkpoint.path}: given twice; the average would count it twice")
        if {name: tensor.shape for name, tensor in reader.weights.items()} != shapes:
            raise UserError(f"{checkpoint.path}: is of another model than {last.path}; only weights of one shape can be averaged")
        if load_tokenizer(checkpoint.tokenizer, engine="reference").digest != tokenizer:
            raise UserError(f"{checkpoint.path}: has another tokenizer than {last.path}; its embeddings mean other tokens")


def _record(checkpoint: Checkpoint, part: float) -> dict[str, Any]:
    digest = file_digest(checkpoint.path / MANIFEST)  # of the manifest, which holds the digest of every file
    return {
        "checkpoint": f"{checkpoint.path.resolve().parent.parent.name}/{checkpoint.path.name}",
        "step": checkpoint.step,
        "tokens": checkpoint.state.get("tokens"),
        "digest": digest,
        "weight": part,
    }
