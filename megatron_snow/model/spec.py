"""What a layer is made of, and megatron-core's configuration of it.

    x = x + attention(norm(x))
    x = x + mlp(norm(x))

| weight     | shape (whole)            | split over tensor-parallel ranks                           |
|------------|--------------------------|------------------------------------------------------------|
| linear_qkv | [(N + 2G) D, H]          | rows, by query groups: [queries of a group, its key, value] |
| linear_proj| [H, N D]                 | columns                                                    |
| linear_fc1 | [2F, H]                  | rows, gate and up each                                     |
| linear_fc2 | [H, F]                   | columns                                                    |
| embedding  | [padded V, H]            | rows                                                       |
| norms      | [H]                      | not                                                        |
"""

from __future__ import annotations

from typing import Any

import torch
from megatron.core.tensor_parallel import ColumnParallelLinear, RowParallelLinear
from megatron.core.transformer import ModuleSpec, TransformerConfig, TransformerLayer, TransformerLayerSubmodules
from megatron.core.transformer.attention import SelfAttention, SelfAttentionSubmodules
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules

from megatron_snow.config import Recipe
from megatron_snow.model.attention import RotaryAttention
from megatron_snow.model.layers import RMSNorm, SwigluMLP, residual_add
from megatron_snow.model.ops import elementwise
from megatron_snow.model.recompute import DroppedNorm, DroppingLinear, DroppingMLP


def layer_spec(selective: bool = False) -> ModuleSpec:
    """One transformer layer; `selective`: with the outputs of norms and SwiGLU made again in the backward pass."""
    linear, norm, mlp = (DroppingLinear, DroppedNorm, DroppingMLP) if selective else (ColumnParallelLinear, RMSNorm, SwigluMLP)
    attention = SelfAttentionSubmodules(linear_qkv=linear, core_attention=RotaryAttention, linear_proj=RowParallelLinear)
    return ModuleSpec(
        module=TransformerLayer,
        submodules=TransformerLayerSubmodules(
            input_layernorm=norm,
            self_attention=ModuleSpec(module=SelfAttention, params={"attn_mask_type": AttnMaskType.causal}, submodules=attention),
            self_attn_bda=residual_add,
            pre_mlp_layernorm=norm,
            mlp=mlp,
            mlp_bda=residual_add,
        ),
    )


def block_spec(layers: int, selective: bool = False) -> TransformerBlockSubmodules:
    """The layers of a pipeline stage and the norm behind the last one."""
    return TransformerBlockSubmodules(layer_specs=[layer_spec(selective)] * layers, layer_norm=RMSNorm)


_FULL_RECOMPUTE: dict[str, Any] = {"recompute_granularity": "full", "recompute_method": "uniform", "recompute_num_layers": 1}


def transformer_config(recipe: Recipe) -> TransformerConfig:
    """megatron-core's configuration of the recipe's model and layout."""
    model, parallel, bf16 = recipe.model, recipe.parallel, recipe.training.precision == "bf16"
    dtype = torch.bfloat16 if bf16 else torch.float32
    config = TransformerConfig(
        num_layers=model.num_layers,
        hidden_size=model.hidden_size,
        ffn_hidden_size=model.ffn_hidden_size,
        num_attention_heads=model.num_attention_heads,
        num_query_groups=model.num_query_groups,
        layernorm_epsilon=model.norm_eps,
        normalization="RMSNorm",
        gated_linear_unit=True,
        activation_func=torch.nn.functional.silu,
        add_bias_linear=False,
        attention_dropout=0.0,
        hidden_dropout=0.0,
        tensor_model_parallel_size=parallel.tensor,
        pipeline_model_parallel_size=parallel.pipeline,
        virtual_pipeline_model_parallel_size=parallel.virtual_pipeline if parallel.virtual_pipeline > 1 else None,
        context_parallel_size=parallel.context,
        sequence_parallel=parallel.sequence,
        bf16=bf16,
        params_dtype=dtype,
        pipeline_dtype=dtype,
        perform_initialization=False,  # initialisation.py does it, equal for every layout
        gradient_accumulation_fusion=False,  # needs apex
        bias_activation_fusion=False,
        bias_dropout_fusion=False,
        masked_softmax_fusion=False,
        cuda_graph_scope=[],
        deterministic_mode=recipe.training.deterministic,
        **(_FULL_RECOMPUTE if recipe.training.recompute == "full" else {}),
    )
    config.rope_theta, config.reset_positions = model.rope_theta, recipe.training.reset_positions
    config.document_attention = recipe.training.document_attention
    config.ops = elementwise(recipe.training.compile)
    return config
