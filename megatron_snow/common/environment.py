"""What a result depends on besides recipe and data: machine, packages, torch's build, the commit of this code.

`doctor` prints it and each checkpoint keeps it. torch is imported only by `describe_torch`.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import psutil

# Settings that change speed or the order of sums; no others are kept, for an environment holds secrets.
_SETTINGS = ("OMP_", "MKL_", "KMP_", "GOMP_", "CUDA_", "CUBLAS_", "NCCL_", "GLOO_", "TORCH_NCCL_", "PYTORCH_CUDA_ALLOC_CONF", "ATEN_")


def describe_machine() -> dict[str, Any]:
    """System, processor, cores that this process may use, memory in bytes."""
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "host": platform.node(),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def describe_torch() -> dict[str, Any]:
    """Version, threads, the CPU capability whose kernels are used, GPUs and their libraries, how torch was built."""
    import torch

    facts: dict[str, Any] = {
        "version": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "backend": "nccl" if torch.cuda.is_available() else "gloo",
        "gpus": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
    }
    if torch.cuda.is_available():  # not run on a GPU
        nccl = ".".join(map(str, torch.cuda.nccl.version()))
        facts |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(), "nccl": nccl}
    return facts | {"build": torch.__config__.show().splitlines()}


def installed_packages() -> dict[str, str]:
    """All of them with their versions, by name."""
    found = {each.metadata["Name"]: each.version for each in importlib.metadata.distributions() if each.metadata["Name"]}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def source_commit(folder: Path) -> str | None:
    """The commit of a checkout, with "-dirty" where tracked files differ from it; None outside of one."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        # An installed package may lie below somebody else's checkout, in its .venv: what that does not track is none of its code.
        subprocess.run(["git", "-C", str(folder), "ls-files", "--error-unmatch", "__init__.py"], capture_output=True, check=True)
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def settings() -> dict[str, str]:
    """The variables that change speed or the order of sums."""
    return {name: value for name, value in sorted(os.environ.items()) if name.startswith(_SETTINGS)}
