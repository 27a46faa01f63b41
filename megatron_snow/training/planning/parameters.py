"""Parameters of a recipe's model, counted from the shapes that a checkpoint holds."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from megatron_snow.config import Recipe
from megatron_snow.config.weights import EMBEDDING, OUTPUT, padded_vocab_size, weight_shapes


@dataclass(frozen=True)
class Parameters:
    """Numbers of the whole model, each weight once, rows that pad the vocabulary not counted but in `padding`."""

    embedding: int  # with the output layer where it is not tied
    linear: int  # matrices of the layers
    norms: int
    padding: int  # of embedding and output layer, up to a multiple of 128 rows
    output: int  # of the matrix that makes the logits, tied or not

    @property
    def non_embedding(self) -> int:
        return self.linear + self.norms

    @property
    def total(self) -> int:
        return self.embedding + self.non_embedding

    @property
    def multiplied(self) -> int:
        """Those that each token is multiplied with: matrices and output layer. Looking up an embedding takes no FLOPs."""
        return self.linear + self.output


def count_parameters(recipe: Recipe) -> Parameters:
    """Count them."""
    model, vocab_size = recipe.model, recipe.tokenizer.vocab_size
    shapes = weight_shapes(model, vocab_size)
    tables = [name for name in shapes if name in (EMBEDDING, OUTPUT)]
    others = [shape for name, shape in shapes.items() if name not in tables]
    return Parameters(
        embedding=sum(prod(shapes[name]) for name in tables),
        linear=sum(prod(shape) for shape in others if len(shape) > 1),
        norms=sum(prod(shape) for shape in others if len(shape) == 1),
        padding=len(tables) * (padded_vocab_size(vocab_size) - vocab_size) * model.hidden_size,
        output=vocab_size * model.hidden_size,
    )
