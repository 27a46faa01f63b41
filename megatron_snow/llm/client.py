"""A client for any OpenAI-compatible endpoint (vLLM, SGLang, TGI, llama.cpp, hosted ones).

`complete_all` asks what is not yet answered, a few requests at a time, and keeps each answer the
moment it arrives: an interrupted run goes on, a second run asks nothing. The API key is read from
OPENAI_API_KEY alone, so that it never lands in a recipe, a manifest or a log.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from megatron_snow.common.errors import UserError
from megatron_snow.common.progress import progress_bar
from megatron_snow.llm.responses import ChatRequest, ChatResponse, ResponseFolder, read_response

API_KEY = "OPENAI_API_KEY"


class ChatClient:
    """Complete chat requests at `endpoint` (base URL, usually ending in /v1) with `model`; keep responses in `cache`.

    Connection errors, timeouts and statuses 408, 409, 429 and 5xx are tried `max_retries` times more,
    after 0.5, 1, 2, 4 ... 8 seconds (the openai package's own rule); any other failure ends the run.
    """

    def __init__(
        self, endpoint: str, model: str, cache: Path, concurrency: int = 2, *, timeout_seconds: float = 600.0, max_retries: int = 4
    ) -> None:
        if urlsplit(endpoint).scheme not in ("http", "https"):
            raise UserError(f"endpoint: {endpoint!r} is not an http:// or https:// URL; for example http://127.0.0.1:8000/v1")
        if concurrency < 1:
            raise UserError(f"concurrency: {concurrency} is below 1")
        self.endpoint, self.model, self.concurrency = endpoint, model, concurrency
        self.responses = ResponseFolder(cache, model)
        self._timeout_seconds, self._max_retries = timeout_seconds, max_retries

    def complete_all(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[str, ChatResponse]]:
        """Yield (key, response) in the order of `requests`, after asking for those that are missing.

        UserError (naming the endpoint and the remedy) when the endpoint is dead or refuses; what was answered until then is kept.
        """
        missing = self.responses.missing(requests)
        if missing:
            asyncio.run(self._ask_all(missing, total=len(set(requests))))
        for request in requests:
            path = self.responses.path(request)
            yield path.stem, read_response(path)

    async def _ask_all(self, missing: Sequence[ChatRequest], total: int) -> None:
        waiting, tokens = iter(missing), 0
        with progress_bar(total, label=f"ask {self.model}", unit="request", initial=total - len(missing)) as bar:

            async def work() -> None:
                nonlocal tokens
                for request in waiting:
                    response = await self._ask(client, request)
                    self.responses.keep(request, response)
                    tokens += response.prompt_tokens + response.completion_tokens
                    bar.set_postfix(tokens=tokens, refresh=False)
                    bar.update()

            async with self._open() as client:
                workers = [asyncio.create_task(work()) for _ in range(min(self.concurrency, len(missing)))]
                try:
                    await asyncio.gather(*workers)
                finally:  # the first failure, or Ctrl-C, ends the others at once
                    for worker in workers:
                        worker.cancel()
                    await asyncio.gather(*workers, return_exceptions=True)

    def _open(self) -> Any:
        """The openai client. Proxies of the environment are for other machines: a loopback address is asked directly."""
        openai = _import_openai()
        http = openai.DefaultAsyncHttpxClient(trust_env=not _is_loopback(self.endpoint))
        return openai.AsyncOpenAI(
            base_url=self.endpoint,
            api_key=os.environ.get(API_KEY) or "none",
            timeout=self._timeout_seconds,
            max_retries=self._max_retries,
            http_client=http,
        )

    async def _ask(self, client: Any, request: ChatRequest) -> ChatResponse:
        openai = _import_openai()
        try:
            answer = await client.chat.completions.create(
                model=self.model,
                messages=request.messages,
                max_tokens=request.max_tokens,
                temperature=request.temperature,
                seed=request.seed,
            )
        except openai.APIStatusError as error:
            raise UserError(f"{self.endpoint}: {_explain_status(error, self.model)}") from error
        except openai.APIError as error:  # no connection, a timeout, an answer that is not the interface's
            raise UserError(
                f"{self.endpoint}: no answer ({_cause(error)}); check that the server runs and that synthesis.endpoint is its URL, "
                "then run the same command again: what was answered is kept"
            ) from error
        return self._response_of(answer)

    def _response_of(self, answer: Any) -> ChatResponse:
        choices = getattr(answer, "choices", None)
        if not choices:
            raise UserError(f"{self.endpoint}: the answer holds no choices; is this the base URL of an OpenAI-compatible server (.../v1)?")
        usage = answer.usage
        return ChatResponse(
            text=choices[0].message.content or "",
            finish_reason=choices[0].finish_reason or "",
            prompt_tokens=usage.prompt_tokens if usage else 0,
            completion_tokens=usage.completion_tokens if usage else 0,
        )


def _import_openai() -> Any:
    try:
        import openai
    except ImportError as error:
        raise UserError("the openai package is missing; pip install 'megatron-snow[synthesis]'") from error
    return openai


def _is_loopback(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _cause(error: Exception) -> str:
    return f"{error} {error.__cause__ or ''}".strip()


def _explain_status(error: Any, model: str) -> str:
    remedies = {
        401: f"set {API_KEY} to a key of this endpoint",
        403: f"the key in {API_KEY} may not use this model",
        404: f"check synthesis.model ({model!r}) and that synthesis.endpoint ends where the server wants it, usually in /v1",
        429: "the rate limit holds after all retries; lower synthesis.concurrency",
    }
    remedy = remedies.get(error.status_code, "look at the server's log")
    return f"status {error.status_code} ({str(error.message)[:300]}); {remedy}, then run the same command again: what was answered is kept"
