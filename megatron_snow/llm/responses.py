"""Requests, responses and the folder that keeps each response under its key.

The key is a digest of what decides the answer (model, messages, sampling, seed) and of nothing
else: the same question to the same model behind another URL is answered from the folder.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from megatron_snow.common.checksums import value_digest
from megatron_snow.common.errors import UserError
from megatron_snow.common.records import read_json, write_json


@dataclass(frozen=True)
class ChatRequest:
    """One conversation to complete, with its sampling settings."""

    system: str
    user: str
    max_tokens: int  # of the answer
    temperature: float
    seed: int

    def key(self, model: str) -> str:
        """The name under which the answer of `model` is kept (32 hexadecimal characters)."""
        return value_digest({"model": model, **asdict(self)})

    @property
    def messages(self) -> list[dict[str, str]]:
        """The conversation in the interface's form."""
        return [{"role": "system", "content": self.system}, {"role": "user", "content": self.user}]


@dataclass(frozen=True)
class ChatResponse:
    """An answer. `finish_reason` is "stop" when the model ended it, "length" when max_tokens did."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


class ResponseFolder:
    """One JSON file a response, written atomically: KEY.json holds model, request and response."""

    def __init__(self, folder: Path, model: str) -> None:
        self.folder, self.model = folder, model

    def path(self, request: ChatRequest) -> Path:
        """Where the answer to `request` is or will be kept."""
        return self.folder / f"{request.key(self.model)}.json"

    def missing(self, requests: Iterable[ChatRequest]) -> list[ChatRequest]:
        """The requests without an answer, each once, in order."""
        return [request for request in dict.fromkeys(requests) if not self.path(request).is_file()]

    def keep(self, request: ChatRequest, response: ChatResponse) -> None:
        """Write an answer under its request's key."""
        write_json(self.path(request), {"model": self.model, "request": asdict(request), "response": asdict(response)})


def read_response(path: Path) -> ChatResponse:
    """Read a kept response; UserError that names a damaged file."""
    record = read_json(path)
    try:
        return ChatResponse(**record["response"])
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: not a kept response ({error}); delete it and run the same command again") from error
