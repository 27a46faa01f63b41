"""Names, whole shapes and split of the model's weights, as a checkpoint and each rank hold them. Needs no torch.

The vocabulary is padded to a fixed multiple, so that a checkpoint has the same shapes in every layout.
"""

from __future__ import annotations

from collections.abc import Iterator

from megatron_snow.common.errors import UserError
from megatron_snow.config.schema import Model, Parallel

VOCABULARY_MULTIPLE = 128  # powers of two up to it divide it; 128 columns fill the tiles of a GPU's matrix units
EMBEDDING = "embedding.word_embeddings.weight"
OUTPUT = "output_layer.weight"  # in a checkpoint only where embeddings are not tied
VOCABULARY_WEIGHTS = (EMBEDDING, OUTPUT)

_LAST_NORM = "decoder.final_layernorm.weight"
_SPLIT_BY_COLUMNS = ("linear_proj.weight", "linear_fc2.weight")  # the two that add to the residual
Shape = tuple[int, ...]


def padded_vocab_size(vocab_size: int) -> int:
    """Rows of the embedding: `vocab_size` rounded up to a multiple of 128."""
    return -(-vocab_size // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE


def weight_shapes(model: Model, vocab_size: int) -> dict[str, Shape]:
    """Every weight by name, in the order of the forward pass; the rows of the vocabulary not padded."""
    shapes: dict[str, Shape] = {EMBEDDING: (vocab_size, model.hidden_size)}
    for number in range(model.num_layers):
        shapes |= _layer_shapes(model, number)
    shapes[_LAST_NORM] = (model.hidden_size,)
    if not model.tie_embeddings:
        shapes[OUTPUT] = (vocab_size, model.hidden_size)
    return shapes


def _layer_shapes(model: Model, number: int) -> dict[str, Shape]:
    hidden, head_size = model.hidden_size, model.hidden_size // model.num_attention_heads
    layer: dict[str, Shape] = {
        "input_layernorm.weight": (hidden,),
        "self_attention.linear_qkv.weight": ((model.num_attention_heads + 2 * model.num_query_groups) * head_size, hidden),
        "self_attention.linear_proj.weight": (hidden, model.num_attention_heads * head_size),
        "pre_mlp_layernorm.weight": (hidden,),
        "mlp.linear_fc1.weight": (2 * model.ffn_hidden_size, hidden),
        "mlp.linear_fc2.weight": (hidden, model.ffn_hidden_size),
    }
    return {f"decoder.layers.{number}.{name}": shape for name, shape in layer.items()}


def split_dimension(name: str) -> int:
    """The dimension along which a matrix is split among tensor-parallel ranks (table in `model/spec.py`)."""
    return 1 if name.endswith(_SPLIT_BY_COLUMNS) else 0


def rank_shapes(model: Model, vocab_size: int, parallel: Parallel, stage: int) -> dict[str, Shape]:
    """The weights that a rank of pipeline rank `stage` holds, by name: vocabulary padded, matrices split, norms whole.

    Layers are counted in the whole model. Of several pipeline ranks the last has an output layer of its own, also where it
    is tied: a copy of the embedding, whose gradients are summed.
    """
    shapes = _whole_shapes(model, padded_vocab_size(vocab_size), parallel, stage)
    return {name: _part(name, shape, parallel.tensor) for name, shape in shapes}


def _whole_shapes(model: Model, rows: int, parallel: Parallel, stage: int) -> Iterator[tuple[str, Shape]]:
    """Chunk c of pipeline rank r is stage c · pipeline + r of the model."""
    layers = model.num_layers // (parallel.pipeline * parallel.virtual_pipeline)
    if stage == 0:
        yield EMBEDDING, (rows, model.hidden_size)
    for chunk in range(parallel.virtual_pipeline):
        first = (chunk * parallel.pipeline + stage) * layers
        for number in range(first, first + layers):
            yield from _layer_shapes(model, number).items()
    if stage == parallel.pipeline - 1:
        yield _LAST_NORM, (model.hidden_size,)
        if not model.tie_embeddings or stage > 0:
            yield OUTPUT, (rows, model.hidden_size)


def _part(name: str, shape: Shape, size: int) -> Shape:
    if len(shape) == 1:
        return shape
    dimension = split_dimension(name)
    return (*shape[:dimension], shape[dimension] // size, *shape[dimension + 1 :])


def check_vocabulary_split(tensor_parallel: int) -> None:
    """UserError unless the padded vocabulary can be split evenly."""
    if VOCABULARY_MULTIPLE % tensor_parallel:
        raise UserError(
            f"parallel.tensor: {tensor_parallel} does not divide {VOCABULARY_MULTIPLE}, the multiple to which the vocabulary is padded; "
            "choose a power of two up to it"
        )
