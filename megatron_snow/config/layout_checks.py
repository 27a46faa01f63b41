"""Rules of the model's shape and its layout over processes: every one that is broken, with the nearest values that keep it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from megatron_snow.config.schema import Model, Parallel, Recipe
from megatron_snow.config.weights import VOCABULARY_MULTIPLE

Problem = tuple[str, str]

_SHAPE = ("num_layers", "hidden_size", "ffn_hidden_size", "num_attention_heads", "num_query_groups", "seq_length")
_GROUPS = ("processes", "tensor", "pipeline", "context", "virtual_pipeline")


def check_layout(recipe: Recipe) -> Iterator[Problem]:
    """Every rule that shape, layout or batch break."""
    below = list(_below_one(recipe))
    yield from below
    if not below:  # what follows divides by them
        yield from _check_model(recipe.model)
        yield from _check_processes(recipe.parallel)
        yield from _check_tensor(recipe.parallel, recipe.model)
        yield from _check_pipeline(recipe.parallel, recipe.model)
        yield from _check_context(recipe.parallel, recipe.model)
        yield from _check_batch(recipe)


def nearest_valid(value: int, valid: Iterable[int]) -> str:
    """'use 4 or 8': the valid numbers next to `value`, one on each side where there is one."""
    numbers = sorted(valid)
    sides = [[number for number in numbers if number < value][-1:], [number for number in numbers if number > value][:1]]
    return "use " + " or ".join(str(number) for side in sides for number in side)


def divisors(number: int) -> list[int]:
    """In ascending order."""
    return [size for size in range(1, number + 1) if number % size == 0]


def _below_one(recipe: Recipe) -> Iterator[Problem]:
    keys = {f"model.{key}": getattr(recipe.model, key) for key in _SHAPE}
    keys |= {f"parallel.{key}": getattr(recipe.parallel, key) for key in _GROUPS}
    keys |= {f"training.{key}": getattr(recipe.training, key) for key in ("micro_batch_size", "global_batch_size")}
    for key, value in keys.items():
        if value < 1:
            yield key, f"{value} is below 1"


def _check_model(model: Model) -> Iterator[Problem]:
    hidden, heads, groups = model.hidden_size, model.num_attention_heads, model.num_query_groups
    valid = [size for size in divisors(hidden) if hidden // size % 2 == 0]
    if hidden % heads:
        told = f"; {nearest_valid(heads, valid)}" if valid else ""
        yield "model.num_attention_heads", f"{heads} does not divide hidden_size {hidden}{told}"
    elif heads not in valid:
        told = f"; {nearest_valid(heads, valid)}" if valid else "; take an even hidden_size"
        yield "model.num_attention_heads", f"{heads} gives an odd head size, {hidden // heads}, and RoPE rotates pairs{told}"
    if heads % groups:
        yield "model.num_query_groups", f"{groups} does not divide num_attention_heads {heads}; {nearest_valid(groups, divisors(heads))}"


def _check_processes(parallel: Parallel) -> Iterator[Problem]:
    product = parallel.tensor * parallel.pipeline * parallel.context
    if over := parallel.processes % product:
        below, above = parallel.processes - over, parallel.processes - over + product
        near = f"the nearest are {below} and {above}" if below else f"the nearest is {above}"
        yield "parallel.processes", f"{parallel.processes} is not a multiple of tensor x pipeline x context = {product}; {near}"


def _check_tensor(parallel: Parallel, model: Model) -> Iterator[Problem]:
    """The vocabulary is padded to a multiple of 128, whatever the layout, so that a checkpoint fits all."""
    split = {"model.num_query_groups": model.num_query_groups, "model.ffn_hidden_size": model.ffn_hidden_size}
    split["the padded vocabulary's"] = VOCABULARY_MULTIPLE
    if broken := [f"{key} {size}" for key, size in split.items() if size % parallel.tensor]:
        valid = [size for size in divisors(VOCABULARY_MULTIPLE) if not any(whole % size for whole in split.values())]
        yield "parallel.tensor", f"{parallel.tensor} does not divide {', '.join(broken)}; {nearest_valid(parallel.tensor, valid)}"
    if parallel.sequence and parallel.tensor == 1:
        yield "parallel.sequence", "true needs parallel.tensor above 1; set it to false"
    positions = model.seq_length // parallel.context
    if parallel.sequence and positions % parallel.tensor:
        longer = -(-positions // parallel.tensor) * parallel.tensor * parallel.context
        yield (
            "parallel.sequence",
            f"tensor {parallel.tensor} does not divide a rank's {positions} positions; set it to false, or model.seq_length to {longer}",
        )


def _check_pipeline(parallel: Parallel, model: Model) -> Iterator[Problem]:
    layers, stages, chunks = model.num_layers, parallel.pipeline, parallel.virtual_pipeline
    if layers % stages:
        yield "parallel.pipeline", f"{stages} does not divide model.num_layers {layers}; {nearest_valid(stages, divisors(layers))}"
    elif chunks > 1 and stages == 1:
        yield "parallel.virtual_pipeline", f"{chunks} needs parallel.pipeline above 1; use 1"
    elif layers % (stages * chunks):
        valid = divisors(layers // stages)
        yield (
            "parallel.virtual_pipeline",
            f"{chunks} does not divide the {layers // stages} layers of a pipeline rank; {nearest_valid(chunks, valid)}",
        )


def _check_context(parallel: Parallel, model: Model) -> Iterator[Problem]:
    length, size = model.seq_length, parallel.context
    if size > 1 and length % (2 * size):
        valid = [1, *divisors(length // 2)] if length % 2 == 0 else [1]
        yield "parallel.context", f"{size} needs model.seq_length {length} to be a multiple of twice it; {nearest_valid(size, valid)}"


def _check_batch(recipe: Recipe) -> Iterator[Problem]:
    micro, data = recipe.training.micro_batch_size, max(1, recipe.parallel.data)
    own = {f"phases.{phase.name}": phase.global_batch_size for phase in recipe.phases if phase.global_batch_size}
    for section, size in {"training": recipe.training.global_batch_size, **own}.items():
        if size < 1 or size % (micro * data):
            below = size // (micro * data) * micro * data
            near = nearest_valid(size, {number for number in (below, below + micro * data) if number > 0})
            told = f"{size} is not a multiple of micro_batch_size {micro} x data-parallel ranks {data}; {near}"
            if size > 0 and size % data == 0:
                told += f", or training.micro_batch_size {max(part for part in divisors(size // data) if part < micro)}"
            yield f"{section}.global_batch_size", told
        elif recipe.parallel.virtual_pipeline > 1 and size % (unit := micro * data * recipe.parallel.pipeline):
            near = nearest_valid(size, {number for number in (size // unit * unit, size // unit * unit + unit) if number > 0})
            told = f"parallel.virtual_pipeline needs a multiple of the {recipe.parallel.pipeline} pipeline ranks; {near}"
            yield f"{section}.global_batch_size", f"{size} is {size // (micro * data)} micro-batches of a data-parallel rank; {told}"
