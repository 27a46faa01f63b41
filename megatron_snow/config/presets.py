"""Shapes of SnowCoder by name: `model: {preset: snowcoder-350m, seq_length: 4096}`; keys beside the name come before the preset's.

Names count all parameters with the paper's vocabulary of 64,000 and tied embeddings, as the paper's 1.3 B does. The
resolved recipe has the keys and no longer the name.
"""

from __future__ import annotations

from typing import Any

from megatron_snow.common.errors import nearest


def _shape(layers: int, hidden: int, ffn: int, heads: int, groups: int, seq_length: int) -> dict[str, Any]:
    return {
        "num_layers": layers, "hidden_size": hidden, "ffn_hidden_size": ffn, "num_attention_heads": heads, "num_query_groups": groups,
        "seq_length": seq_length,
    }  # fmt: skip


PRESETS = {
    "snowcoder-tiny": _shape(6, 192, 512, 6, 6, 512),
    "snowcoder-30m": _shape(16, 256, 704, 4, 4, 2048),
    "snowcoder-135m": _shape(32, 512, 1408, 8, 8, 2048),  # deep and thin, as MobileLLM and SmolLM are at this size
    "snowcoder-350m": _shape(24, 1024, 2560, 16, 16, 4096),
    "snowcoder-1b3": _shape(24, 2048, 5632, 16, 16, 8192),  # the paper's (Table 1)
    "snowcoder-3b": _shape(28, 3072, 8192, 24, 8, 8192),  # Llama-3.2-3B's
    "snowcoder-7b": _shape(32, 4096, 11008, 32, 32, 4096),  # Llama-2-7B's
    "snowcoder-13b": _shape(40, 5120, 13824, 40, 40, 4096),  # Llama-2-13B's
}


def expand_preset(tree: dict[str, Any]) -> tuple[str, str] | None:
    """Put the preset's keys in place of its name in the `model` of a recipe's tree; (key, message) where there is no such preset."""
    model = tree.get("model")
    if not isinstance(model, dict) or "preset" not in model:
        return None
    name, given = str(model["preset"]), {key: value for key, value in model.items() if key != "preset"}
    tree["model"] = PRESETS.get(name, PRESETS["snowcoder-tiny"]) | given
    return None if name in PRESETS else ("model.preset", f"no preset {name}{nearest(name, PRESETS)}; there are {', '.join(PRESETS)}")
