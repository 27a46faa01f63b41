"""A pipeline stage of SnowCoder, as megatron-core's GPTModel with our layers and our loss."""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from megatron.core.models.gpt import GPTModel
from megatron.core.tensor_parallel import set_tensor_model_parallel_attributes
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules
from torch import Tensor

from megatron_snow import kernels
from megatron_snow.config import Recipe
from megatron_snow.config.weights import EMBEDDING, OUTPUT, padded_vocab_size, split_dimension, weight_shapes
from megatron_snow.engine.groups import Groups
from megatron_snow.model.initialisation import initial_weight, shard_of
from megatron_snow.model.spec import block_spec, transformer_config


class SnowCoder(GPTModel):
    """Embedding (first stage), layers, norm and output layer (last stage).

    forward(tokens int64 [b, s], None, documents, labels=int64 [b, s]) -> losses fp32 [b, s] on the last stage, hidden states
    on the others; without labels logits [b, s, columns of this rank]. `documents` int [b, whole sequence] numbers the document at
    each place, for the core attention, which megatron-core hands it to as its mask; None: one a row. RoPE is the core attention's.
    """

    def __init__(self, recipe: Recipe, groups: Groups, chunk: int = 0) -> None:
        model, self.true_vocab_size = recipe.model, recipe.tokenizer.vocab_size
        layers = model.num_layers // (recipe.parallel.pipeline * groups.chunks)
        spec: TransformerBlockSubmodules = block_spec(layers, selective=recipe.training.recompute == "selective")
        super().__init__(
            transformer_config(recipe),
            spec,
            padded_vocab_size(self.true_vocab_size),
            model.seq_length,
            pre_process=groups.is_first(chunk),
            post_process=groups.is_last(chunk),
            share_embeddings_and_output_weights=model.tie_embeddings,
            position_embedding_type="none",
            pg_collection=groups.all,
            vp_stage=chunk if groups.chunks > 1 else None,
        )

    def compute_language_model_loss(self, labels: Tensor, logits: Tensor) -> Tensor:
        """labels [b, s], logits [s, b, columns of this rank] -> fp32 [b, s]; padded columns take no part."""
        group, columns = self.pg_collection.tp, logits.size(-1)
        losses = kernels.vocab_parallel_cross_entropy(
            logits,
            labels.t().contiguous(),
            vocab_size=self.true_vocab_size,
            first=group.rank() * columns,
            group=group if group.size() > 1 else None,
        )
        return losses.t()

    @torch.no_grad()
    def initialise(self, recipe: Recipe) -> None:
        """Fill this rank's part of each weight; see `initialisation.py`."""
        group, shapes = self.pg_collection.tp, weight_shapes(recipe.model, self.true_vocab_size)
        for local_name, parameter in self.named_parameters():
            name = self._checkpoint_name(local_name)
            whole = initial_weight(name, shapes[name], recipe.seed, recipe.model)
            parameter.copy_(shard_of(name, whole, group.rank(), group.size(), self.vocab_size))
            # megatron-core sets these marks where it draws the weights itself; without them the gradient norm misses shards.
            set_tensor_model_parallel_attributes(parameter, whole.dim() > 1, split_dimension(name), 1)

    def _checkpoint_name(self, name: str) -> str:
        """A parameter's name with the layer counted in the whole model; a tied output layer is the embedding."""
        if name == OUTPUT and self.share_embeddings_and_output_weights:
            return EMBEDDING
        offset = self.decoder.layers[0].layer_number - 1
        return re.sub(r"(?<=^decoder\.layers\.)\d+", lambda match: str(int(match[0]) + offset), name)


def build_snowcoder(recipe: Recipe) -> Callable[[Groups, int], SnowCoder]:
    """What `engine.Engine` calls to build each chunk of this rank."""

    def build(groups: Groups, chunk: int) -> SnowCoder:
        model = SnowCoder(recipe, groups, chunk)
        model.initialise(recipe)
        return model

    return build
