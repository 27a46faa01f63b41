"""Greedy completions with a Hugging Face model: left-padded batches, a key-value cache, stop strings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from megatron_snow.common.errors import UserError
from megatron_snow.evaluation.cache import new_cache

_CHECK_EVERY = 16  # tokens between searches for stop strings; decoding all rows takes about as long as two steps


@dataclass(frozen=True)
class Generator:
    """A model and its tokenizer, ready to complete."""

    model: Any
    tokenizer: Any
    context: int  # positions that it was trained on

    @classmethod
    def load(cls, folder: Path) -> Generator:
        """Read a Hugging Face folder: safetensors only, no code of its own. fp32 on the CPU, its own dtype on a GPU."""
        if not (folder / "config.json").is_file():
            raise UserError(f"{folder}: no config.json; give a Hugging Face folder, `megatron-snow convert-to-hf` writes one")
        logging.disable_progress_bar()
        device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model: Any = AutoModelForCausalLM.from_pretrained(
                folder, dtype="auto" if device == "cuda" else torch.float32, local_files_only=True, use_safetensors=True
            )
        except (OSError, ValueError) as error:  # transformers' words for a missing or damaged file
            raise UserError(f"{folder}: transformers cannot load it: {' '.join(str(error).split())[:300]}") from error
        return cls(model.to(device).eval(), tokenizer, int(getattr(model.config, "max_position_embeddings", 0)))

    def encode(self, prompt: str) -> list[int]:
        """The ids of a prompt as the tokenizer makes them."""
        ids: list[int] = self.tokenizer(prompt)["input_ids"]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of generated ids; special tokens give nothing."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    @torch.inference_mode()
    def complete(
        self, prompts: Sequence[str], stops: Sequence[Sequence[str]], max_new_tokens: int, on_step: Callable[[], object]
    ) -> list[str]:
        """Greedy completions of a batch; `on_step` is called after each token of its rows.

        A row ends with the end-of-text token or soon after one of its `stops`; the text is not cut there.
        """
        ids = [self.encode(prompt) for prompt in prompts]
        rows = _Rows(ids, self._end_tokens(), self.model.device, new_cache(self.model.config.model_type))
        for step in range(1, max_new_tokens + 1):
            rows.step(self.model)
            on_step()
            if step % _CHECK_EVERY == 0:
                found = [_holds(self.decode(row), own) for row, own in zip(rows.new_tokens(), stops)]
                rows.finished |= torch.tensor(found, device=self.model.device)
            if bool(rows.finished.all()):
                break
        return [self._completion(own, new) for own, new in zip(ids, rows.new_tokens())]

    def _completion(self, prompt: list[int], new: list[int]) -> str:
        """The text that `new` adds: some tokenizers drop the space before a first token."""
        return self.decode(prompt + new)[len(self.decode(prompt)) :]

    def _end_tokens(self) -> list[int]:
        end = self.model.generation_config.eos_token_id
        return [] if end is None else list(end) if isinstance(end, (list, tuple)) else [end]


def _holds(text: str, stops: Sequence[str]) -> bool:
    return any(stop in text for stop in stops)


class _Rows:
    """The state of a batch: what was generated, the mask, the cache."""

    def __init__(self, prompts: Sequence[Sequence[int]], end_tokens: Sequence[int], device: torch.device, cache: Any) -> None:
        length = max(1, *map(len, prompts))
        self.input = torch.zeros(len(prompts), length, dtype=torch.long)
        self.mask = torch.zeros(len(prompts), length, dtype=torch.long)
        for row, ids in enumerate(prompts):
            if ids:
                self.input[row, length - len(ids) :] = torch.tensor(ids)
                self.mask[row, length - len(ids) :] = 1
        self.input, self.mask = self.input.to(device), self.mask.to(device)
        self.positions = (self.mask.cumsum(1) - 1).clamp(min=0)
        self.ends = torch.tensor(list(end_tokens), dtype=torch.long, device=device)
        self.finished = torch.zeros(len(prompts), dtype=torch.bool, device=device)
        self.generated: list[Tensor] = []
        self.cache = cache

    def step(self, model: Any) -> None:
        """Append the most likely token of each row."""
        output = model(
            input_ids=self.input,
            attention_mask=self.mask,
            position_ids=self.positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self.cache = output.past_key_values
        token = output.logits[:, -1].argmax(-1)
        self.generated.append(token)
        self.finished |= torch.isin(token, self.ends)
        self.input, self.positions = token[:, None], self.positions[:, -1:] + 1
        self.mask = torch.cat((self.mask, torch.ones_like(self.mask[:, :1])), 1)

    def new_tokens(self) -> list[list[int]]:
        """The generated ids of each row, up to its end token."""
        rows = torch.stack(self.generated, 1).tolist()
        ends = set(self.ends.tolist())
        return [row[: next((place for place, token in enumerate(row) if token in ends), len(row))] for row in rows]
