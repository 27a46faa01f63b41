"""The smallest layout that fits: the fewest ranks a copy of the model, since each split costs communication.

Within a size tensor parallelism comes before pipelines, which idle, and stays within a machine (Narayanan et al. 2021,
takeaway 1); the largest part of the recipe's micro-batch that fits is taken. Sequence parallelism goes with tensor
parallelism and ZeRO-1 with more than one copy: both save memory and move no more bytes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from megatron_snow.config import Recipe
from megatron_snow.config.layout_checks import check_layout, divisors
from megatron_snow.config.weights import VOCABULARY_MULTIPLE
from megatron_snow.training.planning.devices import Device
from megatron_snow.training.planning.memory import highest


def smallest_layout(recipe: Recipe, ranks: int, device: Device) -> Recipe | None:
    """The recipe with the smallest layout on that many ranks that keeps every rule and fits; None where there is none.

    Context parallelism and recomputation stay as they are; where nothing fits, all is recomputed.
    """
    usable = device.usable_bytes(ranks)
    for recompute in dict.fromkeys((recipe.training.recompute, "full")):
        training = dataclasses.replace(recipe.training, recompute=recompute)
        for candidate in _candidates(dataclasses.replace(recipe, training=training), ranks, device):
            if not any(check_layout(candidate)) and fits(candidate, device, usable):
                return candidate
    return None


def fits(recipe: Recipe, device: Device, usable: int | None = None) -> bool:
    """Whether the stage that needs most has room on the device."""
    limit = device.usable_bytes(recipe.parallel.processes) if usable is None else usable
    return highest(recipe, on_gpu=device.is_gpu).peak <= limit


def _candidates(recipe: Recipe, ranks: int, device: Device) -> Iterator[Recipe]:
    tensors = [size for size in divisors(VOCABULARY_MULTIPLE) if size <= device.per_machine]
    sizes = [(tensor, pipeline) for tensor in tensors for pipeline in divisors(recipe.model.num_layers)]
    for tensor, pipeline in sorted(sizes, key=lambda size: (size[0] * size[1], size[1])):
        for micro in reversed(divisors(recipe.training.micro_batch_size)):
            if ranks % (tensor * pipeline * recipe.parallel.context) == 0:
                yield _laid_out(recipe, ranks, tensor, pipeline, micro)


def _laid_out(recipe: Recipe, ranks: int, tensor: int, pipeline: int, micro: int) -> Recipe:
    copies = ranks // (tensor * pipeline)  # of a weight, among data- and context-parallel ranks
    parallel = dataclasses.replace(
        recipe.parallel, processes=ranks, tensor=tensor, pipeline=pipeline, sequence=tensor > 1, distributed_optimizer=copies > 1,
        virtual_pipeline=1,
    )  # fmt: skip
    return dataclasses.replace(recipe, parallel=parallel, training=dataclasses.replace(recipe.training, micro_batch_size=micro))
