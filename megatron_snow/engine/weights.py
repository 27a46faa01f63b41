"""Names and whole shapes of the model's weights, as a checkpoint holds them.

The vocabulary is padded to a fixed multiple, so that a checkpoint has the same shapes in every layout.
"""

from __future__ import annotations

from megatron_snow.common.errors import UserError
from megatron_snow.config import Model

VOCABULARY_MULTIPLE = 128  # powers of two up to it divide it; 128 columns fill the tiles of a GPU's matrix units
EMBEDDING = "embedding.word_embeddings.weight"
OUTPUT = "output_layer.weight"  # only where embeddings are not tied
VOCABULARY_WEIGHTS = (EMBEDDING, OUTPUT)


def padded_vocab_size(vocab_size: int) -> int:
    """Rows of the embedding: `vocab_size` rounded up to a multiple of 128."""
    return -(-vocab_size // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE


def weight_shapes(model: Model, vocab_size: int) -> dict[str, tuple[int, ...]]:
    """Every weight by name, in the order of the forward pass; the rows of the vocabulary not padded."""
    hidden, head_size = model.hidden_size, model.hidden_size // model.num_attention_heads
    layer = {
        "input_layernorm.weight": (hidden,),
        "self_attention.linear_qkv.weight": ((model.num_attention_heads + 2 * model.num_query_groups) * head_size, hidden),
        "self_attention.linear_proj.weight": (hidden, model.num_attention_heads * head_size),
        "pre_mlp_layernorm.weight": (hidden,),
        "mlp.linear_fc1.weight": (2 * model.ffn_hidden_size, hidden),
        "mlp.linear_fc2.weight": (hidden, model.ffn_hidden_size),
    }
    shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (vocab_size, hidden)}
    for number in range(model.num_layers):
        shapes |= {f"decoder.layers.{number}.{name}": shape for name, shape in layer.items()}
    shapes["decoder.final_layernorm.weight"] = (hidden,)
    if not model.tie_embeddings:
        shapes[OUTPUT] = (vocab_size, hidden)
    return shapes


def check_vocabulary_split(tensor_parallel: int) -> None:
    """UserError unless the padded vocabulary can be split evenly."""
    if VOCABULARY_MULTIPLE % tensor_parallel:
        raise UserError(
            f"parallel.tensor: {tensor_parallel} does not divide {VOCABULARY_MULTIPLE}, the multiple to which the vocabulary is padded; "
            "choose a power of two up to it"
        )
