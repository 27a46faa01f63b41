"""What a run takes, told before anything runs and without torch: parameters, FLOPs, memory, steps, time and cost.

Start with `plan.py`: `plan_run(recipe, device, ...)`. `memory.py` adds up a rank's bytes, of which `activations.py`
counts the ones that depend on tokens; `flops.py` counts operations; `layouts.py` looks for the smallest layout that fits.
"""

from megatron_snow.training.planning.devices import DEVICES, Device, device_named
from megatron_snow.training.planning.flops import flops_per_token
from megatron_snow.training.planning.layouts import smallest_layout
from megatron_snow.training.planning.memory import RankMemory, rank_memory
from megatron_snow.training.planning.parameters import Parameters, count_parameters
from megatron_snow.training.planning.plan import RunPlan, plan_run

__all__ = [
    "DEVICES", "Device", "Parameters", "RankMemory", "RunPlan",
    "count_parameters", "device_named", "flops_per_token", "plan_run", "rank_memory", "smallest_layout",
]  # fmt: skip
