"""What a run is asked to show of itself besides its metrics: options of `pretrain`, checked before anything is loaded."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass

from megatron_snow.common.errors import UserError
from megatron_snow.training.run import Run


@dataclass(frozen=True)
class Monitoring:
    """Steps are numbers of the whole run, first and last included."""

    profile: range | None = None  # steps of which torch's profiler writes a trace
    memory_snapshot: range | None = None  # steps of which the allocations on the GPU are recorded
    wandb: str | None = None  # project of Weights & Biases


def check_monitoring(monitoring: Monitoring, run: Run) -> None:
    """UserError for steps that the run does not have and for what is missing here.

    Steps that are done already are no mistake, for the same command goes on with a run: they are not done again.
    """
    for option, steps in (("--profile", monitoring.profile), ("--memory-snapshot", monitoring.memory_snapshot)):
        if steps is not None and steps.stop - 1 > run.last_step:
            raise UserError(f"{option} {steps.start}-{steps.stop - 1}: the run ends with step {run.last_step}")
    if monitoring.memory_snapshot is not None:
        _check_gpu()
    if monitoring.wandb is not None and importlib.util.find_spec("wandb") is None:
        raise UserError(f"--wandb {monitoring.wandb}: Weights & Biases is not installed; pip install 'megatron-snow[wandb]'")


def _check_gpu() -> None:
    import torch

    if not torch.cuda.is_available():
        raise UserError(
            "--memory-snapshot: torch records the memory of a GPU, and there is none here; --profile counts the bytes that each "
            "operation allocates on the CPU, plan-run the memory of a rank"
        )


def step_range(option: str, text: str | None) -> range | None:
    """FIRST-LAST or one number as a range; UserError for anything else. None is None."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 0 < first <= last:
        raise UserError(f"{option} {text}: not a range of steps; give FIRST-LAST, like 10-12, counted from 1")
    return range(first, last + 1)
