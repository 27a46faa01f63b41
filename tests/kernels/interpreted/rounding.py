"""bf16 as hardware does it: Triton's interpreter (3.6 to 3.9) truncates where a GPU rounds to the nearest even."""

from __future__ import annotations

from typing import Any

import numpy as np


def to_float32(bits: Any) -> Any:
    """bf16, held as uint16, to fp32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def to_bfloat16(values: Any) -> Any:
    """fp32 to bf16 held as uint16."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = ((bits + (0x7FFF + ((bits >> 16) & 1)).astype(np.uint32)) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)


def patch_rounding() -> None:
    """Change the interpreter of this process."""
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle, _get_np_dtype

    shipped = InterpreterBuilder.cast_impl

    def cast(self: Any, handle: Any, dst_type: Any, *_rounding: Any) -> Any:
        source, target = handle.dtype.scalar, dst_type.scalar
        if source == target or tl.bfloat16 not in (source, target):
            return shipped(self, handle, dst_type)
        wide = to_float32(handle.data) if source == tl.bfloat16 else handle.data.astype(np.float32)
        return TensorHandle(to_bfloat16(wide) if target == tl.bfloat16 else wide.astype(_get_np_dtype(target)), target)

    InterpreterBuilder.cast_impl = cast
    InterpreterBuilder.create_fp_to_fp = cast
