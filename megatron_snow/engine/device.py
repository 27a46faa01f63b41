"""The device layer: what megatron-core takes for granted about CUDA, answered when there is no GPU.

megatron-core names the device "cuda" in about a hundred places, compares `Tensor.type()` with 'torch.cuda.FloatTensor'
and keeps CUDA's random state. With a GPU nothing here does anything. Without one, `prepare_device` answers those
questions with the CPU's answers; `torch.cuda.is_available()` goes on telling the truth.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from megatron_snow.common.errors import UserError


class _CudaMeansCpu(TorchFunctionMode):
    """Reads "cuda" as "cpu" in calls of torch: `device=` arguments, `.cuda()`, `.to("cuda")`, pinned memory, type names."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is Tensor.cuda:
            return args[0]
        if _names_cuda(kwargs.get("device")):
            kwargs["device"] = "cpu"
        if func is Tensor.to and len(args) > 1 and _names_cuda(args[1]):
            args = (args[0], "cpu", *args[2:])
        kwargs.pop("pin_memory", None)
        result = func(*args, **kwargs)
        if func is Tensor.type and isinstance(result, str):
            return result.replace("torch.", "torch.cuda.", 1)
        return result


def _names_cuda(device: Any) -> bool:
    return str(device).startswith("cuda") if isinstance(device, (str, torch.device)) else False


@cache
def prepare_device() -> torch.device:
    """The device of this process: its GPU (LOCAL_RANK chooses it), else the CPU with megatron-core made ready for it.

    Done once in a process. On the CPU it replaces four functions of `torch.cuda` and enters a torch function mode,
    about 1 µs an operation.
    """
    if torch.cuda.is_available():
        ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        if ranks > torch.cuda.device_count():
            raise UserError(
                f"parallel.processes: {ranks} processes on a machine of {torch.cuda.device_count()} GPU(s); start fewer, "
                "or train on the CPU with CUDA_VISIBLE_DEVICES= (empty)"
            )
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "1")  # megatron-core: a collective starts before the product that hides it
        torch.cuda.set_device(device)
        return device
    cpu = torch.device("cpu")
    torch.cuda.current_device = lambda: cpu  # type: ignore[assignment, return-value]
    torch.cuda.synchronize = lambda device=None: None
    torch.cuda.get_rng_state = lambda device="cuda": torch.get_rng_state()
    torch.cuda.set_rng_state = lambda state, device="cuda": torch.set_rng_state(state)  # type: ignore[assignment]
    torch.cuda.manual_seed = torch.manual_seed  # type: ignore[assignment]
    from megatron.core.tensor_parallel import random

    random._get_cuda_rng_state = lambda *_, **__: torch.get_rng_state()
    random._set_cuda_rng_state = lambda state, *_, **__: torch.set_rng_state(state)
    _CudaMeansCpu().__enter__()
    return cpu


def be_deterministic(wanted: bool) -> None:
    """Have torch, cuBLAS and NCCL add in one fixed order, or, where it is not wanted, in the fastest.

    On the CPU torch's own order depends on nothing but the number of threads. On a GPU torch raises where an op has no such form.
    """
    torch.use_deterministic_algorithms(wanted)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nothing reads what it did not write
    torch.backends.cudnn.benchmark = False
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        os.environ.setdefault("NCCL_ALGO", "Ring")
