"""What a device has: peak rate from its maker's data sheet, memory as its driver reports it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import psutil

from megatron_snow.common.errors import UserError, nearest

GIB = 2**30


@dataclass(frozen=True)
class Device:
    """One GPU, or the CPU of this machine with all ranks on it."""

    name: str
    peak_tflops: float  # dense bf16, never the sparse figure, which is twice that; 0: not known
    memory_bytes: int
    usable_share: float  # of the memory; the rest is CUDA's context, NCCL's buffers, what the allocator cannot join. Assumed.
    per_machine: int  # devices with fast links between them, within which tensor parallelism stays
    is_gpu: bool = True

    def usable_bytes(self, ranks: int) -> int:
        """What each of that many ranks may take: of a GPU all, of this machine its part."""
        return int(self.memory_bytes * self.usable_share) // (1 if self.is_gpu else ranks)

    def flops(self, ranks: int) -> float:
        """Peak rate of that many ranks together, in FLOP/s."""
        return self.peak_tflops * 1e12 * (ranks if self.is_gpu else 1)


DEVICES = {
    "h100": Device("H100 SXM 80 GB", 989.0, 79 * GIB, 0.92, 8),
    "h200": Device("H200 SXM 141 GB", 989.0, 139 * GIB, 0.92, 8),
    "a100": Device("A100 SXM 80 GB", 312.0, 79 * GIB, 0.92, 8),
}


def device_named(name: str, *, peak_tflops: float | None = None, memory_gib: float | None = None) -> Device:
    """h100, h200, a100, or cpu: this machine, whose peak rate is not known unless it is given."""
    if name != "cpu" and name not in DEVICES:
        raise UserError(f"--device {name}: not known{nearest(name, DEVICES)}; there are {', '.join(DEVICES)} and cpu")
    for option, value in (("--peak-tflops", peak_tflops), ("--memory-gib", memory_gib)):
        if value is not None and value <= 0:
            raise UserError(f"{option} {value:g}: must be above 0")
    device = DEVICES.get(name) or Device("CPU", 0.0, psutil.virtual_memory().total, 0.9, 1, is_gpu=False)
    if peak_tflops is not None:
        device = dataclasses.replace(device, peak_tflops=peak_tflops)
    return device if memory_gib is None else dataclasses.replace(device, memory_bytes=int(memory_gib * GIB))
