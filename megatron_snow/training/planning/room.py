"""Whether a run has room on the machine where it starts: told before step 1, and not by the kernel that ends a process hours later."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import psutil

from megatron_snow.common.errors import UserError
from megatron_snow.config import Recipe
from megatron_snow.training.planning.devices import GIB
from megatron_snow.training.planning.memory import highest

_CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")


def check_room(recipe: Recipe) -> None:
    """UserError where a rank needs more than its GPU has, or the ranks of this machine together more than its memory."""
    gpu = gpu_bytes()
    need, where = highest(recipe, on_gpu=gpu is not None).peak, "its GPU"
    room, ranks = gpu or 0, 1
    if gpu is None:
        room, where = machine_bytes(), "the machine"
        ranks = int(os.environ.get("LOCAL_WORLD_SIZE", recipe.parallel.processes // int(os.environ.get("NNODES", "1"))))
    if need * ranks > room:
        each, training = f" for each of {ranks} ranks" if ranks > 1 else "", recipe.training
        raise UserError(
            f"too little memory: {need / GIB:.1f} GiB{each} at the highest point, and {where} has {room / GIB:.1f} GiB; lower "
            f"training.micro_batch_size ({training.micro_batch_size}), set training.recompute ({training.recompute}) to full, "
            "or see what fits with `megatron-snow plan-run`"
        )


def gpu_bytes() -> int | None:
    """Memory of the smallest GPU that this run may use, as the driver says it; None where there is none. Not run on a GPU."""
    command = shutil.which("nvidia-smi")
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "" or command is None:
        return None
    query = [command, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    sizes = [int(line) for line in answer.stdout.split() if line.isdigit()]
    return min(sizes) * 2**20 if answer.returncode == 0 and sizes else None


def machine_bytes() -> int:
    """Of this machine, or of the container where that has less."""
    limit = _CONTAINER_LIMIT.read_text().strip() if _CONTAINER_LIMIT.is_file() else ""
    total = psutil.virtual_memory().total
    return min(total, int(limit)) if limit.isdigit() else total
