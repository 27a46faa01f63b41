"""What a step is measured by: tokens a second, the share of waiting for data, the share of the device's peak (docs/monitoring.md).

The peak is the maker's where the GPU is a known one and the run is in bf16; anywhere else, on a CPU for one, it is measured: the
rate at which this very machine, all ranks at once, multiplies two matrices in the run's precision.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from megatron_snow.config import Recipe
from megatron_snow.engine import Engine
from megatron_snow.training.loop import StepDone
from megatron_snow.training.planning.devices import DEVICES
from megatron_snow.training.planning.flops import Flops, flops_per_token

# Keys of a line of metrics.jsonl that the clock decides; all others are the same in every run of a recipe.
TIMED = frozenset({"tokens_per_second", "data_wait", "mfu_full", "mfu_causal"})

# What torch.cuda.get_device_name says -> the data sheet. By the whole name: H100 PCIe and NVL, H200 NVL and GH200 have other peaks.
_DATA_SHEETS = {"NVIDIA H100 80GB HBM3": "h100", "NVIDIA H200": "h200", "NVIDIA A100-SXM4-80GB": "a100", "NVIDIA A100-SXM4-40GB": "a100"}
_SIDE = {"cpu": 1024, "cuda": 8192}  # large enough to be bound by arithmetic
_SECONDS = 0.15  # of measuring, at least one product after the first, which warms up


@dataclass(frozen=True)
class Peak:
    """The rate that utilisation is a share of."""

    flops: float  # FLOP/s of all ranks together
    source: str  # where it is from, in words

    def __str__(self) -> str:
        return f"peak {self.flops / 1e12:.4g} TFLOP/s: {self.source}"


def find_peak(engine: Engine) -> Peak:
    """The peak of all ranks; called by all together, takes under a second."""
    precision = engine.recipe.training.precision
    sheet = data_sheet(torch.cuda.get_device_name()) if torch.cuda.is_available() and precision == "bf16" else None
    engine.barrier()  # ranks that share cores measure at the same time, as they train
    mine = (sheet.peak_tflops * 1e12, f"data sheet of {sheet.name}") if sheet else _measured(precision)
    ranks: list[Any] = [None] * engine.world_size
    dist.all_gather_object(ranks, mine)
    sources = " and ".join(dict.fromkeys(source for _, source in ranks))
    return Peak(sum(rate for rate, _ in ranks), f"{sources}, {len(ranks)} rank{'s' * (len(ranks) > 1)}")


def data_sheet(name: str) -> Any:
    """The planner's Device of a GPU by its driver's name, dense bf16; None: not known."""
    return DEVICES.get(_DATA_SHEETS.get(name, ""))


def _measured(precision: str) -> tuple[float, str]:
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    what = torch.cuda.get_device_name() if kind == "cuda" else f"the CPU with {torch.get_num_threads()} thread(s) a rank"
    return matrix_product_rate(precision, kind), f"measured, {precision} matrix product on {what}"


def matrix_product_rate(precision: str, kind: str) -> float:
    """FLOP/s of this rank: the best of several products of square matrices. No random state is touched."""
    side, dtype = _SIDE[kind], torch.bfloat16 if precision == "bf16" else torch.float32
    generator = torch.Generator(kind).manual_seed(0)
    one, other = (torch.rand(side, side, generator=generator, device=kind).to(dtype) for _ in range(2))
    best, count, began = float("inf"), 0, time.perf_counter()
    while count < 2 or time.perf_counter() - began < _SECONDS:
        start = time.perf_counter()
        torch.mm(one, other)
        torch.cuda.synchronize()  # nothing on the CPU (engine/device.py)
        best, count = min(best, time.perf_counter() - start), count + 1
    return 2 * side**3 / best


@dataclass(frozen=True)
class Figures:
    """A step as a line of metrics.jsonl."""

    flops: Flops  # a token
    peak: Peak

    @classmethod
    def of(cls, engine: Engine, recipe: Recipe) -> Figures:
        """Of a run; called by all ranks together."""
        return cls(flops_per_token(recipe), find_peak(engine))

    def utilisation(self, tokens_per_second: float) -> tuple[float, float]:
        """Shares of the peak: (full attention, its causal half), of model FLOPs, without what is recomputed."""
        return self.flops.full * tokens_per_second / self.peak.flops, self.flops.causal * tokens_per_second / self.peak.flops

    def line(self, done: StepDone) -> dict[str, Any]:
        """What happened at a step, then (TIMED) how fast."""
        step, rate = done.step, done.step.tokens / done.seconds
        full, causal = self.utilisation(rate)
        return {
            "step": step.number,
            "tokens": step.total_tokens,
            "phase": step.phase.name,
            "loss": done.loss,
            "lr": step.learning_rate,
            "grad_norm": done.grad_norm,
            "tokens_per_second": round(rate, 1),
            "data_wait": round(done.data_seconds / done.seconds, 5),  # of the main rank's step
            "mfu_full": round(full, 4),
            "mfu_causal": round(causal, 4),
        }
