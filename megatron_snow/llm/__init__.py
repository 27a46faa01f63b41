"""Floor 1: talking to language models over the OpenAI-compatible interface.

Start with `client.ChatClient` (concurrency, retries, every response kept under its key) and
`server.local_server` (a real small model on this machine, for laptops and tests).
"""

from megatron_snow.llm.client import ChatClient, ChatRequest, ChatResponse
from megatron_snow.llm.server import LOCAL_MODEL, local_server

__all__ = ["LOCAL_MODEL", "ChatClient", "ChatRequest", "ChatResponse", "local_server"]
