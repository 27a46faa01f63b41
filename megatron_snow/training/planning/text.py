"""A plan as text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from megatron_snow.config import Recipe
from megatron_snow.config.weights import rank_shapes
from megatron_snow.training.planning.devices import GIB
from megatron_snow.training.planning.memory import RankMemory
from megatron_snow.training.planning.plan import LayoutPlan, RunPlan


def describe_plan(plan: RunPlan) -> str:
    """All of a plan: model, phases, the layout as written, the suggested ones."""
    parts = [_model(plan), _phases(plan), _layout(plan)]
    if plan.suggested:
        parts.append(_suggested(plan))
    return "\n\n".join("\n".join(lines) for lines in parts)


def rank_shapes_of(recipe: Recipe) -> list[dict[str, tuple[int, ...]]]:
    """The weights of a rank of each pipeline stage, by name."""
    model, vocab_size = recipe.model, recipe.tokenizer.vocab_size
    return [rank_shapes(model, vocab_size, recipe.parallel, stage) for stage in range(recipe.parallel.pipeline)]


def describe_ranks(recipe: Recipe, layout: LayoutPlan) -> str:
    """The weights and the memory of a rank of each pipeline stage."""
    return "\n\n".join("\n".join(_rank(memory, shapes)) for memory, shapes in zip(layout.stages, rank_shapes_of(recipe)))


def _model(plan: RunPlan) -> Iterator[str]:
    counted, flops = plan.parameters, plan.flops
    yield f"{plan.recipe}: {counted.total:,} parameters: {counted.embedding:,} embedding, {counted.non_embedding:,} other"
    with_attention = f"{flops.causal / 1e9:.3f} G causal, {flops.full / 1e9:.3f} G full"
    yield f"  FLOPs a token: 6N {flops.weights / 1e9:.3f} G; with attention {with_attention}"


def _phases(plan: RunPlan) -> Iterator[str]:
    layout = plan.as_written
    yield f"{'phase':<16}{'tokens':>18}{'steps':>10}{'batch':>8}{'hours':>12}"
    for phase in layout.phases:
        yield f"{phase.name:<16}{phase.tokens:>18,}{phase.steps:>10,}{phase.batch:>8,}{_number(phase.hours):>12}"
    tokens, steps = sum(phase.tokens for phase in layout.phases), sum(phase.steps for phase in layout.phases)
    yield f"{'together':<16}{tokens:>18,}{steps:>10,}{'':>8}{_number(layout.hours):>12}"
    assumed = " (assumed; give --mfu)" if plan.mfu_is_assumed else ""
    if layout.hours is None:
        yield f"  no time: the peak rate of {plan.device.name} is not known; give --peak-tflops"
    else:
        rate = f"{plan.device.peak_tflops:g} TFLOP/s, at {plan.mfu:.1%} of it by causal FLOPs{assumed}"
        yield f"  on {layout.ranks} x {plan.device.name}, {rate}"


def _layout(plan: RunPlan) -> Iterator[str]:
    layout = plan.as_written
    room = plan.device.usable_bytes(layout.ranks)
    yield f"as written: {_sizes(layout)}"
    yield "  GiB of a rank    " + "".join(f"{name:>13}" for name in _COLUMNS)
    for memory in layout.stages:
        yield f"  pipeline stage {memory.stage:<2}" + "".join(f"{value / GIB:>13.2f}" for value in _values(memory))
    kept = ", ".join(f"{mode} {size / GIB:.2f}" for mode, size in layout.activations.items())
    yield f"  activations of the first stage by training.recompute: {kept} GiB"
    verdict = "fits" if layout.fits else "DOES NOT FIT"
    yield f"  {verdict}: {layout.highest.peak / GIB:.1f} of {room / GIB:.1f} GiB ({plan.device.usable_share:.0%} of the device's, assumed)"


_COLUMNS = ("weights", "gradients", "master", "moments", "activations", "logits", "passing", "highest")


def _values(memory: RankMemory) -> tuple[int, ...]:
    return (
        memory.weights, memory.gradients, memory.master, memory.moments, memory.activations, memory.logits, memory.passing, memory.peak,
    )  # fmt: skip


def _suggested(plan: RunPlan) -> Iterator[str]:
    yield f"smallest layouts that fit on {plan.device.name}"
    sizes_and_memory = f"{'ranks':>7}{'data':>7}{'tensor':>8}{'pipeline':>10}{'micro':>7}{'recompute':>12}{'GiB':>8}"
    yield f"{sizes_and_memory}{'tokens/s':>13}{'days':>9}{'device hours':>15}{'cost':>14}"
    for ranks, layout in plan.suggested.items():
        if layout is None:
            yield f"{ranks:>7}  none: no layout keeps every rule and fits; raise --memory-gib, or change the batch"
            continue
        sizes = layout.parallel
        days = None if layout.hours is None else layout.hours / 24
        yield (
            f"{ranks:>7}{layout.data:>7}{sizes.tensor:>8}{sizes.pipeline:>10}{layout.micro_batch_size:>7}{layout.recompute:>12}"
            f"{layout.highest.peak / GIB:>8.1f}{_number(layout.tokens_per_second, 0):>13}{_number(days, 2):>9}"
            f"{_number(layout.device_hours, 0):>15}{_number(layout.cost, 0):>14}"
        )
    if plan.device.peak_tflops:
        yield "  the same share of the peak on every number of ranks: what communication costs must be measured"
    if plan.price_per_hour is None:
        yield "  no cost: give --price, of a device's hour"


def _sizes(layout: LayoutPlan) -> str:
    sizes = layout.parallel
    split = f"{layout.ranks} ranks = data {layout.data} x tensor {sizes.tensor} x pipeline {sizes.pipeline} x context {sizes.context}"
    switches = [name for name, on in (("sequence parallel", sizes.sequence), ("ZeRO-1", sizes.distributed_optimizer)) if on]
    chunks = [f"{sizes.virtual_pipeline} chunks a pipeline rank"] if sizes.virtual_pipeline > 1 else []
    return ", ".join([split, *switches, *chunks, f"micro-batch {layout.micro_batch_size}", f"recompute {layout.recompute}"])


def _rank(memory: RankMemory, shapes: dict[str, tuple[int, ...]]) -> Iterator[str]:
    values = ", ".join(f"{name} {value / GIB:.2f}" for name, value in zip(_COLUMNS, _values(memory)))
    yield f"pipeline stage {memory.stage}: {memory.parameters:,} parameters a rank; GiB: {values}"
    for name, (layers, shape) in _by_kind(shapes).items():
        where = f"{len(layers)} layers, {layers[0]} to {layers[-1]}" if layers else ""
        yield f"  {name:<50}{list(shape)!s:<18}{where}"


def _by_kind(shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[list[int], tuple[int, ...]]]:
    """Weights without the number of their layer, and the layers that have them; all layers are alike."""
    kinds: dict[str, tuple[list[int], tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        number = re.search(r"(?<=layers\.)\d+", name)
        layers, _shape = kinds.setdefault(re.sub(r"(?<=layers\.)\d+", "N", name), ([], shape))
        layers.extend([int(number[0])] if number else [])
    return kinds


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
