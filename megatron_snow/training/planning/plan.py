"""A run's plan: what each phase takes on given hardware."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from megatron_snow.config import Parallel, Recipe
from megatron_snow.training.phases import Plan, PlannedPhase
from megatron_snow.training.planning.devices import Device
from megatron_snow.training.planning.flops import Flops, flops_per_token
from megatron_snow.training.planning.layouts import fits, smallest_layout
from megatron_snow.training.planning.memory import RankMemory, rank_memory
from megatron_snow.training.planning.parameters import Parameters, count_parameters

Recompute = Literal["none", "selective", "full"]
RECOMPUTE: tuple[Recompute, ...] = get_args(Recompute)

ASSUMED_MFU = 0.4  # causal; published runs of 1 to 9 B on H100 report 31 to 50 % in one convention or the other


@dataclass(frozen=True)
class PhaseTime:
    """A phase and how long it takes; None where the device's peak rate is not known."""

    name: str
    tokens: int  # whole steps
    steps: int
    batch: int  # sequences a step
    hours: float | None


@dataclass(frozen=True)
class LayoutPlan:
    """The run in one layout."""

    ranks: int
    parallel: Parallel
    data: int  # copies of the model
    micro_batch_size: int
    recompute: str
    stages: list[RankMemory]
    activations: dict[str, int]  # kept on the first stage, by what is recomputed
    fits: bool
    phases: list[PhaseTime]
    hours: float | None
    device_hours: float | None
    cost: float | None  # in the price's currency
    tokens_per_second: float | None  # of all ranks

    @property
    def highest(self) -> RankMemory:
        return max(self.stages, key=lambda memory: memory.peak)


@dataclass(frozen=True)
class RunPlan:
    """What is known of a run before it starts."""

    recipe: str
    device: Device
    mfu: float  # in the causal convention
    mfu_is_assumed: bool
    price_per_hour: float | None  # of a device
    parameters: Parameters
    flops: Flops
    as_written: LayoutPlan
    suggested: dict[int, LayoutPlan | None]  # by number of ranks; None: no layout fits

    def as_dict(self) -> dict[str, Any]:
        """Plain values, sums included."""
        tree = dataclasses.asdict(self)
        tree["parameters"] |= {"total": self.parameters.total, "non_embedding": self.parameters.non_embedding}
        tree["flops"] |= {"causal": self.flops.causal, "full": self.flops.full}
        layouts = [(self.as_written, tree["as_written"]), *((self.suggested[ranks], tree["suggested"][ranks]) for ranks in self.suggested)]
        for layout, plain in layouts:
            for memory, stage in zip(layout.stages, plain["stages"]) if layout else ():
                stage |= {"between_steps": memory.between_steps, "peak": memory.peak}
        return tree


def plan_run(
    recipe: Recipe, device: Device, *, ranks: Sequence[int] = (), mfu: float | None = None, price_per_hour: float | None = None
) -> RunPlan:
    """Plan the recipe as it is written, and with the smallest layout that fits on each number of ranks."""
    terms = device, ASSUMED_MFU if mfu is None else mfu, price_per_hour
    found = {count: smallest_layout(recipe, count, device) for count in ranks}
    return RunPlan(
        recipe=recipe.name,
        device=device,
        mfu=terms[1],
        mfu_is_assumed=mfu is None,
        price_per_hour=price_per_hour,
        parameters=count_parameters(recipe),
        flops=flops_per_token(recipe),
        as_written=plan_layout(recipe, *terms),
        suggested={count: plan_layout(laid_out, *terms) if laid_out else None for count, laid_out in found.items()},
    )


def plan_layout(recipe: Recipe, device: Device, mfu: float, price_per_hour: float | None) -> LayoutPlan:
    """The recipe in the layout that it has."""
    parallel = recipe.parallel
    phases = [_phase_time(recipe, planned, device, mfu) for planned in Plan(recipe).phases]
    known = [phase.hours for phase in phases if phase.hours is not None]
    hours = sum(known) if len(known) == len(phases) else None
    devices = parallel.processes if device.is_gpu else 1
    return LayoutPlan(
        ranks=parallel.processes,
        parallel=parallel,
        data=parallel.data,
        micro_batch_size=recipe.training.micro_batch_size,
        recompute=recipe.training.recompute,
        stages=[rank_memory(recipe, stage, on_gpu=device.is_gpu) for stage in range(parallel.pipeline)],
        activations={
            mode: rank_memory(_recomputing(recipe, mode), on_gpu=device.is_gpu).activations for mode in ("none", "selective", "full")
        },
        fits=fits(recipe, device),
        phases=phases,
        hours=hours,
        device_hours=None if hours is None else hours * devices,
        cost=None if hours is None or price_per_hour is None else hours * devices * price_per_hour,
        tokens_per_second=sum(phase.tokens for phase in phases) / hours / 3600 if hours else None,
    )


def _recomputing(recipe: Recipe, mode: Recompute) -> Recipe:
    return dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, recompute=mode))


def _phase_time(recipe: Recipe, planned: PlannedPhase, device: Device, mfu: float) -> PhaseTime:
    """FLOPs over the rate, and the pipeline's bubble: (p - 1) / (v m) of the time (Narayanan et al. 2021, section 2.2)."""
    parallel, tokens = recipe.parallel, planned.samples * planned.seq_length
    hours = None
    if device.peak_tflops:
        micro_batches = planned.batch / (recipe.training.micro_batch_size * parallel.data)
        bubble = (parallel.pipeline - 1) / (parallel.virtual_pipeline * micro_batches)
        hours = tokens * flops_per_token(recipe).causal / (device.flops(parallel.processes) * mfu) * (1 + bubble) / 3600
    return PhaseTime(planned.phase.name, tokens, planned.steps, planned.batch, hours)
