"""environment.yaml: where and on what a run computes, beside its recipe in the run's folder and in each checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

import megatron_snow
from megatron_snow.common import environment
from megatron_snow.common.files import atomic_file
from megatron_snow.engine import Engine
from megatron_snow.training.telemetry import Peak

FILE = "environment.yaml"


def write_environment(folder: Path, engine: Engine, peak: Peak) -> None:
    """Write the file; called on the main rank, of whose machine it speaks. A resumed run replaces it, its checkpoints keep theirs."""
    facts: dict[str, Any] = {
        "megatron_snow": megatron_snow.__version__,
        "commit": environment.source_commit(Path(megatron_snow.__file__).parent),  # null: not a checkout
        "machine": environment.describe_machine(),
        "ranks": engine.world_size,
        "peak": {"tflops": round(peak.flops / 1e12, 6), "source": peak.source},  # what mfu_full and mfu_causal are shares of
        "torch": environment.describe_torch(),
        "settings": environment.settings(),
        "packages": environment.installed_packages(),
    }
    with atomic_file(folder / FILE) as file:
        yaml.safe_dump(facts, file, sort_keys=False, allow_unicode=True, width=1000)
