"""python -m tests.kernels.resources [--write]: what each Triton kernel needs on sm_90a, from its machine code, without a GPU.

The launchers themselves are called, with the shapes of the 1.3B model at 8,192 tokens on torch's meta device, and a driver that knows a
Hopper's architecture and nothing else. So the options, constants and alignments are those of a run. --write renews resources.json.
"""

from __future__ import annotations

import collections
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import triton
from torch import Tensor
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

from megatron_snow.kernels.triton_ops import cross_entropy, optimizer, rms_norm, rope, swiglu

RECORD = Path(__file__).with_name("resources.json")
TOKENS, HIDDEN, FEED_FORWARD, HEADS, HEAD_SIZE, VOCABULARY = 8192, 2048, 5632, 16, 128, 65536


class Hopper:
    """As much of a Triton driver as a compilation asks for."""

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)


def meta(*shape: int, dtype: torch.dtype) -> Tensor:
    """A tensor without memory, aligned as torch allocates."""
    return torch.empty(shape, dtype=dtype, device="meta")


def launches(dtype: torch.dtype) -> Iterator[tuple[str, Callable[[], None]]]:
    """Each launcher with the tensors of a run."""
    rows, wide, weight = meta(TOKENS, HIDDEN, dtype=dtype), meta(TOKENS, 2 * FEED_FORWARD, dtype=dtype), meta(HIDDEN, dtype=dtype)
    half, numbers = meta(TOKENS, FEED_FORWARD, dtype=dtype), meta(TOKENS, dtype=torch.float32)
    sums = meta(528, HIDDEN, dtype=torch.float32)  # four programs on each of 132 multiprocessors
    qkv = meta(TOKENS, 1, 3 * HEADS * HEAD_SIZE, dtype=dtype).unflatten(2, (3, HEADS, HEAD_SIZE))
    q, k, table = qkv[:, :, 0], qkv[:, :, 1], meta(TOKENS, HEAD_SIZE, dtype=torch.float32)
    logits, targets = meta(TOKENS, VOCABULARY, dtype=dtype), meta(TOKENS, dtype=torch.int64)
    yield "rms_norm", lambda: rms_norm.forward(rows, None, weight, 1e-5, rows, None, numbers)
    yield "add_rms_norm", lambda: rms_norm.forward(rows, rows, weight, 1e-5, rows, rows, numbers)
    yield "rms_norm backward", lambda: rms_norm.backward(rows, None, rows, weight, numbers, rows, sums)
    yield "add_rms_norm backward", lambda: rms_norm.backward(rows, rows, rows, weight, numbers, rows, sums)
    yield "swiglu", lambda: swiglu.forward(wide, half)
    yield "swiglu backward", lambda: swiglu.backward(half, wide, wide)
    yield "rope of q and k", lambda: rope.rotate(q, k, q, k, table, table, False)
    yield "rope backward", lambda: rope.rotate(q, None, q, None, table, table, True)
    flat, copy, scale = meta(1 << 27, dtype=torch.float32), meta(1 << 27, dtype=dtype), meta(dtype=torch.float32)
    adamw = {"step": 2, "lr": 1e-3, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.1}
    yield "adamw_flat_", lambda: optimizer.adamw(flat, flat, flat, flat, copy, scale, **adamw)
    yield "sum_of_squares", lambda: optimizer.sum_of_squares(copy, meta(528, dtype=torch.float32))
    yield "cross_entropy", lambda: cross_entropy.forward(logits, targets, 0, VOCABULARY, numbers, numbers, numbers)
    yield "cross_entropy backward", lambda: cross_entropy.backward(logits, targets, 0, VOCABULARY, numbers, numbers, numbers)


def compiled(launch: Callable[[], None]) -> Any:
    """The kernel that `launch` would run."""
    kernels: list[Any] = []
    run = JITFunction.run

    def compile_only(self: Any, *args: Any, **kwargs: Any) -> None:
        kernels.append(run(self, *args, **{**kwargs, "warmup": True}))

    with mock.patch.object(JITFunction, "run", compile_only):
        launch()
    (kernel,) = kernels
    return kernel


def resources(kernel: Any) -> dict[str, Any]:
    """Registers, stack, shared memory, and the global and local accesses in its machine code by width."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        usage, code = (
            subprocess.run([knobs.nvidia.cuobjdump.path, option, file.name], capture_output=True, text=True, check=True).stdout
            for option in ("-res-usage", "-sass")
        )
    registers, stack = (int(re.search(rf"{name}:(\d+)", usage)[1]) for name in ("REG", "STACK"))  # type: ignore[index]
    accesses: collections.Counter[str] = collections.Counter()
    for kind, options in re.findall(r"\b(LDG|STG|LDL|STL)((?:\.\w+)*)", code):
        width = next((part for part in options.split(".") if part in ("64", "128")), "32")
        accesses[f"{kind}.{width}"] += 1
    return {
        "registers": registers, "stack": stack, "shared_memory": kernel.metadata.shared, "warps": kernel.metadata.num_warps,
        "accesses": dict(sorted(accesses.items())),
    }  # fmt: skip


def measure() -> dict[str, Any]:
    """Every kernel in every dtype."""
    triton.runtime.driver.set_active(Hopper())
    kernels = {
        f"{name}, {str(dtype)[6:]}": resources(compiled(launch))
        for dtype in (torch.bfloat16, torch.float16, torch.float32)
        for name, launch in launches(dtype)
    }
    return {"triton": triton.__version__, "target": "sm_90a", "kernels": kernels}


if __name__ == "__main__":
    text = json.dumps(measure(), indent=1) + "\n"
    if "--write" in sys.argv:
        RECORD.write_text(text, encoding="utf-8")
    print(text)
