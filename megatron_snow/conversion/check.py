"""Do the two models say the same? Logits of transformers' Llama against ours, in fp32, on the ids of real code."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from megatron_snow.common.errors import UserError
from megatron_snow.config import Parallel, Recipe
from megatron_snow.conversion.mapping import EMBEDDING, OUTPUT
from megatron_snow.tokenizers import load_tokenizer

TOLERANCE = 1e-5  # of the largest logit: fp32 sums in another order; a wrong row or angle gives over 1e-2
# Short sequences: transformers takes RoPE's angles in fp32, off by 6e-8 a position (ours are fp64), and at position 512
# that alone can reach the tolerance: 1.3e-5 against 2.8e-6 up to 64 in a model of random weights of scale 0.1.
_SEQUENCES, _MAX_LENGTH = 8, 64


@dataclasses.dataclass(frozen=True)
class LogitCheck:
    """How far apart the logits are."""

    tokens: int
    max_difference: float
    largest_logit: float
    other_choices: int  # positions at which the most likely next token differs

    @property
    def relative_difference(self) -> float:
        """max_difference over the largest logit."""
        return self.max_difference / self.largest_logit if self.largest_logit else self.max_difference

    def __str__(self) -> str:
        share = f"{self.relative_difference:.1e} of the largest, {self.largest_logit:.3g}"
        return f"logits of {self.tokens:,} tokens differ by at most {self.max_difference:.1e} ({share})"


def check_logits(folder: Path, tensors: Mapping[str, Tensor], recipe: Recipe, tokenizer_model: Path) -> LogitCheck:
    """Compare the Hugging Face model in `folder` with megatron-core's of the weights `tensors`; UserError over TOLERANCE."""
    ids = sample_ids(tokenizer_model, recipe.model.seq_length)
    expected, found = our_logits(tensors, recipe, ids), huggingface_logits(folder, ids)
    check = LogitCheck(
        tokens=ids.numel(),
        max_difference=float((expected - found).abs().max()),
        largest_logit=float(expected.abs().max()),
        other_choices=int((expected.argmax(-1) != found.argmax(-1)).sum()),
    )
    if not check.relative_difference <= TOLERANCE:  # not <=: NaN must not pass
        raise UserError(f"{folder.name}: {check}; over {TOLERANCE:.0e} is not the same model: nothing was written; please report this")
    return check


def sample_ids(tokenizer_model: Path, seq_length: int) -> Tensor:
    """int64 [8, up to 64]: the text of this package's own files."""
    length = min(seq_length, _MAX_LENGTH)
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("*.py")))
    ids = load_tokenizer(tokenizer_model).encode(text)
    return torch.tensor((ids * (1 + _SEQUENCES * length // len(ids)))[: _SEQUENCES * length]).view(_SEQUENCES, length)


@torch.no_grad()
def our_logits(tensors: Mapping[str, Tensor], recipe: Recipe, ids: Tensor) -> Tensor:
    """fp32 [b, s, V] of our model on one process; ids int64 [b, s]."""
    from megatron_snow.engine.device import prepare_device
    from megatron_snow.engine.groups import build_groups, join_processes, leave_processes
    from megatron_snow.model import build_snowcoder

    device = prepare_device()
    joined_here = join_processes(device, alone=True)
    try:
        training = dataclasses.replace(recipe.training, precision="fp32")
        recipe = dataclasses.replace(recipe, parallel=Parallel(), training=training)
        model = build_snowcoder(recipe)(build_groups(recipe.parallel, recipe.seed), 0).to(device).eval()
        for name, parameter in model.named_parameters():
            weight = tensors[EMBEDDING if name == OUTPUT and recipe.model.tie_embeddings else name]
            parameter.zero_()
            parameter[: weight.size(0)].copy_(weight)
        logits = model(ids.to(device), None, None)
        return logits[..., : recipe.tokenizer.vocab_size].float().cpu()
    finally:
        leave_processes(joined_here)


@torch.no_grad()
def huggingface_logits(folder: Path, ids: Tensor) -> Tensor:
    """fp32 [b, s, V] of transformers' LlamaForCausalLM; ids int64 [b, s]."""
    from transformers import LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model: torch.nn.Module = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True, use_safetensors=True)
    logits: Tensor = model.to(device).eval()(ids.to(device)).logits
    return logits.float().cpu()
