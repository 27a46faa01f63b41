"""The ops of the model: `reference.py` says what each is, `REGISTRY` chooses what runs, `REGISTRY.explain()` says why.

rms_norm(x, weight, eps), add_rms_norm(x, residual, weight, eps), swiglu(gate_up), rope(x, cos, sin), rope_(q, k, cos, sin),
attention(q, k, v, offset), document_attention(q, k, v, documents, offset), adamw_(...), adamw_flat_(...),
sum_of_squares(x): see `reference.py` for shapes; vocab_parallel_cross_entropy: see `cross_entropy.py`.
Imports torch, and nothing of ours but the errors.
"""

from megatron_snow.kernels import cross_entropy, documents, fused, reference, triton_ops
from megatron_snow.kernels.registry import KERNELS_VARIABLE, Choice, Implementation, Registry

REGISTRY = Registry()
REGISTRY.add("rms_norm", "reference", reference.rms_norm)
REGISTRY.add("add_rms_norm", "reference", reference.add_rms_norm)
REGISTRY.add("swiglu", "reference", reference.swiglu)
REGISTRY.add("rope", "reference", reference.rope)
REGISTRY.add("rope_", "reference", reference.rope_)
REGISTRY.add("attention", "reference", reference.attention)
REGISTRY.add("attention", "torch", fused.attention)
REGISTRY.add("document_attention", "reference", reference.document_attention)
REGISTRY.add("document_attention", "torch", documents.attention)
REGISTRY.add("document_attention", "flash-attn", documents.flash_attention, documents.missing_flash_attention)
REGISTRY.add("adamw_", "reference", reference.adamw_)
REGISTRY.add("adamw_", "torch", fused.adamw_)
REGISTRY.add("adamw_flat_", "reference", reference.adamw_flat_)
REGISTRY.add("sum_of_squares", "reference", reference.sum_of_squares)
REGISTRY.add("vocab_parallel_cross_entropy", "torch", cross_entropy.vocab_parallel_cross_entropy)
for op, on_cpu in (
    ("rms_norm", reference.rms_norm), ("add_rms_norm", reference.add_rms_norm), ("swiglu", reference.swiglu), ("rope", reference.rope),
    ("rope_", reference.rope_), ("adamw_flat_", reference.adamw_flat_), ("sum_of_squares", reference.sum_of_squares),
    ("vocab_parallel_cross_entropy", cross_entropy.vocab_parallel_cross_entropy),
):  # fmt: skip
    REGISTRY.add(op, "triton", triton_ops.on_gpu(op, otherwise=on_cpu), triton_ops.missing, triton_ops.PROVEN)

rms_norm = REGISTRY.function("rms_norm")
add_rms_norm = REGISTRY.function("add_rms_norm")
swiglu = REGISTRY.function("swiglu")
rope = REGISTRY.function("rope")
rope_ = REGISTRY.function("rope_")
attention = REGISTRY.function("attention")
document_attention = REGISTRY.function("document_attention")
adamw_ = REGISTRY.function("adamw_")
adamw_flat_ = REGISTRY.function("adamw_flat_")
sum_of_squares = REGISTRY.function("sum_of_squares")
vocab_parallel_cross_entropy = REGISTRY.function("vocab_parallel_cross_entropy")

__all__ = [
    "KERNELS_VARIABLE", "REGISTRY", "Choice", "Implementation", "Registry",
    "adamw_", "adamw_flat_", "add_rms_norm", "attention", "document_attention", "reference", "rms_norm", "rope", "rope_",
    "sum_of_squares", "swiglu", "vocab_parallel_cross_entropy",
]  # fmt: skip
