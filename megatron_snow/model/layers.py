"""The modules of a layer that are ours: norm, MLP and residual."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from megatron.core.tensor_parallel import ColumnParallelLinear, RowParallelLinear
from megatron.core.transformer import TransformerConfig
from megatron.core.transformer.mlp import MLP, MLPSubmodules
from torch import Tensor


class RMSNorm(torch.nn.Module):
    """x / rms(x) · weight. Under sequence parallelism each rank norms its own positions and the gradients are summed."""

    def __init__(self, config: TransformerConfig, hidden_size: int, eps: float = 1e-5, **_: Any) -> None:
        super().__init__()
        device = torch.cuda.current_device()
        self.weight = torch.nn.Parameter(torch.ones(hidden_size, dtype=config.params_dtype, device=device))
        # megatron-core sums the gradients of parameters that are so marked.
        setattr(self.weight, "sequence_parallel", config.sequence_parallel)  # noqa: B010
        self.eps, self.rms_norm = eps, config.ops.rms_norm

    def forward(self, x_SBH: Tensor) -> Tensor:
        result: Tensor = self.rms_norm(x_SBH, self.weight, self.eps)
        return result


class SwigluMLP(MLP):
    """fc2(swiglu(fc1(x)))."""

    first_linear: type[ColumnParallelLinear] = ColumnParallelLinear

    def __init__(self, config: TransformerConfig, **_: Any) -> None:
        linears = MLPSubmodules(linear_fc1=self.first_linear, linear_fc2=RowParallelLinear)
        super().__init__(config, linears, ffn_hidden_size=config.ffn_hidden_size)

    def forward(self, hidden_states: Tensor, per_token_scale: Tensor | None = None, **_: Any) -> tuple[Tensor, None]:
        gate_up_SBF, _none = self.linear_fc1(hidden_states)
        output, _none = self.linear_fc2(self.config.ops.swiglu(gate_up_SBF))
        return output, None


def residual_add(training: bool, fused: bool) -> Callable[[tuple[Tensor, Tensor | None], Tensor, float], Tensor]:
    """megatron-core's place for bias, dropout and residual; there is neither bias nor dropout here."""
    return lambda output_and_bias, residual, dropout: residual + output_and_bias[0]
