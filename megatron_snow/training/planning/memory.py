"""Bytes of a rank while it trains: what stays between steps, and the highest point of a step.

    weights              d             2 in bf16, 4 in fp32
    gradients            4             fp32 sums, whatever the precision
    master               4             a copy of the weights in fp32, in bf16 alone
    moments              8             AdamW's two, in fp32

a parameter of the rank; ZeRO-1 (Rajbhandari et al. 2020) divides master and moments by the ranks that hold the same
weights. In a pipeline's 1F1B schedule rank r of p keeps the activations of min(p - r, micro-batches) forward passes
(Narayanan et al. 2021, section 2.2), in the interleaved one as many chunks as it starts before its first backward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from megatron_snow.config import Recipe
from megatron_snow.config.weights import rank_shapes
from megatron_snow.training.planning.activations import Activations, count_activations


@dataclass(frozen=True)
class RankMemory:
    """Bytes of each rank of a pipeline stage."""

    stage: int
    parameters: int  # held by the rank, padding and copies included
    weights: int
    gradients: int
    master: int
    moments: int
    activations: int  # of all micro-batches that are under way at the highest point
    logits: int  # with the last norm and what the loss keeps; on the last stage
    passing: int  # beside them at the highest point: of loss or backward pass, or of communication

    @property
    def between_steps(self) -> int:
        return self.weights + self.gradients + self.master + self.moments

    @property
    def peak(self) -> int:
        return self.between_steps + self.activations + self.logits + self.passing


def rank_memory(recipe: Recipe, stage: int = 0, *, on_gpu: bool = True) -> RankMemory:
    """Of a rank of pipeline rank `stage`, in the largest batch of the recipe's phases."""
    parallel, wide = recipe.parallel, 2 if recipe.training.precision == "bf16" else 4
    sizes = [prod(shape) for shape in rank_shapes(recipe.model, recipe.tokenizer.vocab_size, parallel, stage).values()]
    count, sharers = sum(sizes), parallel.data * parallel.context if parallel.distributed_optimizer else 1
    kept = count_activations(recipe, on_gpu=on_gpu)
    activations = forward_passes(recipe, stage) * (layers_of_chunk(recipe) * kept.layer + (kept.stage_input if stage else 0))
    head = kept.head if stage == parallel.pipeline - 1 else 0
    passing = max(_in_step(kept, head, wide * max(sizes)), 0 if on_gpu else _on_cpu(kept, head, sizes, activations, sharers, wide))
    return RankMemory(
        stage=stage,
        parameters=count,
        weights=wide * count,
        gradients=4 * count,
        master=4 * count // sharers if wide == 2 else 0,
        moments=8 * count // sharers,
        activations=activations,
        logits=head,
        passing=passing,
    )


def _in_step(kept: Activations, head: int, weight_gradient: int) -> int:
    """The loss is computed, or the gradient of the largest weight, or, with the logits gone, the backward pass of a layer."""
    return max(kept.head_passing if head else 0, weight_gradient, kept.recomputed + kept.layer_passing - head)


def _on_cpu(kept: Activations, head: int, sizes: list[int], activations: int, sharers: int, wide: int) -> int:
    """MKL and oneDNN pack the larger factor of a product: no document says so, the growth of resident memory does.

    gloo sums gradients for ZeRO-1 in a copy of them, when no activations are kept any more; NCCL does it in place.
    """
    packed = _in_step(kept, head, wide * max(sizes)) + 4 * max(sizes)
    copied = 4 * sum(sizes) - activations - head if sharers > 1 else 0
    return max(packed, copied)


def layers_of_chunk(recipe: Recipe) -> int:
    """Layers that a forward pass of one chunk goes through."""
    return recipe.model.num_layers // (recipe.parallel.pipeline * recipe.parallel.virtual_pipeline)


def micro_batches(recipe: Recipe) -> int:
    """Forward passes of a rank's chunk in a step of the phase with the largest batch."""
    batches = [recipe.batch_size(phase) for phase in recipe.phases] or [recipe.training.global_batch_size]
    return max(1, max(batches) // (recipe.training.micro_batch_size * recipe.parallel.data))


def forward_passes(recipe: Recipe, stage: int) -> int:
    """Forward passes of a chunk whose backward pass is still to come, at most, on pipeline rank `stage`."""
    pipeline, chunks = recipe.parallel.pipeline, recipe.parallel.virtual_pipeline
    started = (pipeline - stage) if chunks == 1 else (pipeline - stage - 1) * 2 + (chunks - 1) * pipeline + 1
    return min(started, micro_batches(recipe) * chunks)


def highest(recipe: Recipe, *, on_gpu: bool = True) -> RankMemory:
    """The memory of the pipeline stage that needs most."""
    stages = (rank_memory(recipe, stage, on_gpu=on_gpu) for stage in range(recipe.parallel.pipeline))
    return max(stages, key=lambda memory: memory.peak)
