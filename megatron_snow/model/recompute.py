"""Selective recomputation: the outputs of norms and of SwiGLU are dropped when the linear behind them has read them.

They cost next to nothing to make again, and of what a layer keeps for its backward pass they are the half that no kernel needs.
megatron-core's own switch for norms asks Transformer Engine for its fp8 state, with or without fp8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from megatron.core.tensor_parallel import CheckpointWithoutOutput, ColumnParallelLinear
from torch import Tensor

from megatron_snow.model.layers import RMSNorm, SwigluMLP


def make_again(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """function(*inputs), which `drop` must be called for when it was read."""
    again = CheckpointWithoutOutput(fp8=None)  # False is taken for an fp8 setting
    output: Tensor = again.checkpoint(function, *inputs)
    output.made_again = again  # type: ignore[attr-defined]
    return output


def drop(read: Tensor, output: Tensor) -> None:
    """Free `read`, if `make_again` made it, until the gradient of `output`, the first that was computed from it, is there."""
    again = getattr(read, "made_again", None)
    if again is not None:
        again.discard_output_and_register_recompute(output)


class DroppedNorm(RMSNorm):
    """A norm whose output is dropped by what reads it."""

    def forward(self, x_SBH: Tensor) -> Tensor:
        return make_again(super().forward, x_SBH)


class DroppingLinear(ColumnParallelLinear):
    """megatron-core's, which drops its input where that can be made again."""

    def forward(self, input_: Tensor, *args: Any, **kwargs: Any) -> Any:
        output = super().forward(input_, *args, **kwargs)
        drop(input_, output[0])
        return output


class DroppingMLP(SwigluMLP):
    """SwigluMLP that keeps neither its input nor swiglu's output."""

    first_linear = DroppingLinear

    def forward(self, hidden_states: Tensor, per_token_scale: Tensor | None = None, **_: Any) -> tuple[Tensor, None]:
        gate_up_SBF, _none = self.linear_fc1(hidden_states)
        wide = make_again(self.config.ops.swiglu, gate_up_SBF)
        output, _none = self.linear_fc2(wide)
        drop(wide, output)
        return output, None
