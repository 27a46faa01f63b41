"""The tokenizer of a command, in each of its processes: read once a process, its engine held against the reference once a command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from megatron_snow.common.errors import UserError
from megatron_snow.tokenizers import Tokenizer, load_tokenizer
from megatron_snow.tokenizers.engines import Choice, choice_of

_loaded: dict[SharedTokenizer, Tokenizer] = {}  # at most one


@dataclass(frozen=True)
class SharedTokenizer:
    """What a task is given in place of a tokenizer."""

    model: Path
    choice: Choice

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> SharedTokenizer:
        """Choose the engine of a tokenizer, if that is not done, and share it."""
        shared = cls(tokenizer.path, choice_of(tokenizer))
        shared._keep(tokenizer)
        return shared

    @property
    def tokenizer(self) -> Tokenizer:
        """UserError where the model's file was changed after the command began."""
        if self not in _loaded:
            tokenizer = load_tokenizer(self.model, engine=self.choice)
            if tokenizer.digest != self.choice.tokenizer:
                raise UserError(f"{self.model}: changed while it was in use; run the same command again")
            self._keep(tokenizer)
        return _loaded[self]

    def _keep(self, tokenizer: Tokenizer) -> None:
        _loaded.clear()
        _loaded[self] = tokenizer
