"""Bytes that a forward pass keeps for its backward pass, a token of a rank.

Counted as Korthikanti et al. 2022 (arXiv 2205.05198, section 4.1) count them, tensor by tensor, for the ops that this
model is made of: no dropout, attention that keeps no scores, norms and SwiGLU that compute in fp32. With d bytes a
number (2 in bf16, 4 in fp32), H hidden, F feed-forward, N heads, G key-value heads of size D, t tensor-parallel ranks:

    norm          (8 + d) H + 4     its input and the normed input in fp32, the output, which the next linear reads
    attention     d (N + 2G) D      queries, keys, values in one piece, which keeps the values
                  d (2N + G) D      rotated queries and keys, the output
                  4 N               a row's log of the sum of exponentials
    SwiGLU        (12 + d) F        gate and up and silu(gate) in fp32, the output

A layer is two norms, attention and SwiGLU; attention and SwiGLU are divided by t, with sequence parallelism the norms
too. Recomputation "selective" keeps of a norm its input and of SwiGLU gate and up, in d bytes; "full" keeps of a layer
its input alone. With context parallelism keys and values of the whole sequence are gathered, and each chunk of queries
has a mask over the keys that it sees.
"""

from __future__ import annotations

from dataclasses import dataclass

from megatron_snow.config import Recipe
from megatron_snow.config.weights import padded_vocab_size


@dataclass(frozen=True)
class Activations:
    """Bytes of a micro-batch on a rank."""

    layer: int  # kept by one layer, with the recipe's recomputation
    recomputed: int  # computed again, and kept, while the backward pass goes through a layer
    head: int  # kept by last norm, logits and loss
    head_passing: int  # needed beside while the loss and its gradient are computed
    layer_passing: int  # needed beside that
    stage_input: int  # kept by a pipeline stage beside its layers


def count_activations(recipe: Recipe, *, on_gpu: bool) -> Activations:
    """Of the recipe's model, micro-batch, precision and layout."""
    model, parallel = recipe.model, recipe.parallel
    wide, tokens = _bytes(recipe), _tokens(recipe)
    hidden = tokens * model.hidden_size // (parallel.tensor if parallel.sequence else 1)
    inner = tokens * model.ffn_hidden_size // parallel.tensor
    norm, swiglu = (8 + wide) * hidden + 4 * hidden // model.hidden_size, (12 + wide) * inner
    attention = _attention(recipe)
    layer = 2 * norm + attention + swiglu
    kept, recomputed = {  # selective recomputes one norm or SwiGLU at a time
        "none": (layer, 0),
        "selective": (2 * wide * hidden + attention + 2 * wide * inner, max(norm, swiglu)),
        "full": (wide * hidden, layer),
    }[recipe.training.recompute]
    logits = tokens * padded_vocab_size(recipe.tokenizer.vocab_size) // parallel.tensor
    return Activations(
        layer=kept,
        recomputed=recomputed,
        head=norm + wide * logits + 17 * tokens,  # of each row maximum, sum, column (int64) and whether it is this rank's
        # On a GPU the loss holds the logits and their differences from the largest in fp32, on the CPU blocks of 2 MiB of them.
        head_passing=8 * logits if on_gpu else 3 * 2**21,
        # SwiGLU's backward pass: gradients of its product, of gate and of up, 4 F each, and these two joined, 8 F. All else is smaller.
        layer_passing=20 * inner,
        # Hidden states from the stage before; where a first norm or the recomputation keeps its input, it is these.
        stage_input=wide * hidden if wide == 2 and recipe.training.recompute == "none" else 0,
    )


def _bytes(recipe: Recipe) -> int:
    return 2 if recipe.training.precision == "bf16" else 4


def _tokens(recipe: Recipe) -> int:
    return recipe.training.micro_batch_size * recipe.model.seq_length // recipe.parallel.context


def _attention(recipe: Recipe) -> int:
    model, size, wide, tokens = recipe.model, recipe.parallel.context, _bytes(recipe), _tokens(recipe)
    head_size = model.hidden_size // model.num_attention_heads
    queries, keys = model.num_attention_heads * head_size, model.num_query_groups * head_size
    if size == 1:
        whole = wide * tokens * (3 * queries + 3 * keys) + 4 * tokens * model.num_attention_heads
        return whole // recipe.parallel.tensor
    # Rotated queries, the output of each chunk and both joined; keys and values of all positions.
    whole = wide * tokens * (3 * queries + 2 * keys * size) + 4 * tokens * model.num_attention_heads
    mask = wide * (2 * size + 1) * (model.seq_length // (2 * size)) ** 2  # of rank r: chunks r and 2C - 1 - r see 2C + 1 chunks
    return whole // recipe.parallel.tensor + mask
