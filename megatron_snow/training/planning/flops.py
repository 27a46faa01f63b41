"""Floating-point operations of a training step, forward and backward, without what is recomputed ("model FLOPs").

    6 N                  a multiply and an add a weight, once forward and twice backward (Kaplan et al. 2020)
    12 L S N_heads D     QK^T and PV over all S positions: Narayanan et al. 2021 (arXiv 2104.04473, appendix), as PaLM,
                         nanoGPT, torchtitan and llm-foundry count it ("full")
     6 L S N_heads D     their causal half, as Megatron-LM and llm.c count it ("causal")

N counts the matrices that a token is multiplied with, the output layer among them. The same run reads a fifth higher
in the full convention at 8,192 positions, so a utilisation without its convention says little.
"""

from __future__ import annotations

from dataclasses import dataclass

from megatron_snow.config import Recipe
from megatron_snow.training.planning.parameters import count_parameters


@dataclass(frozen=True)
class Flops:
    """A token's floating-point operations, averaged over the positions of a sample."""

    weights: int  # 6 N
    causal_attention: int

    @property
    def causal(self) -> int:
        return self.weights + self.causal_attention

    @property
    def full(self) -> int:
        return self.weights + 2 * self.causal_attention


def flops_per_token(recipe: Recipe) -> Flops:
    """Of the recipe's model at its sequence length."""
    model = recipe.model
    return Flops(6 * count_parameters(recipe).multiplied, 6 * model.num_layers * model.seq_length * model.hidden_size)
