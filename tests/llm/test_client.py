"""The client against a dead port, and against a small HTTP server of this test that misbehaves on purpose."""

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.llm import ChatClient, ChatRequest

REQUESTS = [ChatRequest("system", f"question {number}", 16, 0.5, number) for number in range(4)]


class Server(ThreadingHTTPServer):
    """Answers with the question, after the statuses of `failures` have been used up."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.failures: list[int] = []
        self.asked: list[dict] = []
        self.keys: list[str] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked.append(body)
            self.server.keys.append(self.headers["Authorization"])
            status = self.server.failures.pop(0) if self.server.failures else 200
        message = {"role": "assistant", "content": f"answer to {body['messages'][1]['content']}"}
        answer = {
            "id": "x", "object": "chat.completion", "created": 0, "model": body["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
        } if status == 200 else {"error": {"message": "out of order"}}  # fmt: skip
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_failing_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.failures = [503, 429]
    ((_, response),) = ChatClient(server.url, "m", tmp_path).complete_all(REQUESTS[:1])
    assert response.text == "answer to question 0"
    assert (response.finish_reason, response.prompt_tokens, response.completion_tokens) == ("stop", 7, 5)
    assert len(server.asked) == 3
    assert server.asked[-1] | {"seed": 0, "max_tokens": 16, "temperature": 0.5, "model": "m"} == server.asked[-1]


def test_answers_come_in_the_order_of_the_requests_and_are_kept(server: Server, tmp_path: Path) -> None:
    client = ChatClient(server.url, "m", tmp_path, concurrency=3)
    first = list(client.complete_all([*REQUESTS, REQUESTS[1]]))
    assert [response.text for _, response in first] == [f"answer to question {number}" for number in (0, 1, 2, 3, 1)]
    assert len(server.asked) == 4  # the same request twice is asked once
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({f"{key}.json" for key, _ in first})
    assert list(ChatClient("http://127.0.0.1:9/v1", "m", tmp_path).complete_all([*REQUESTS, REQUESTS[1]])) == first


def test_what_was_answered_before_a_failure_is_kept(server: Server, tmp_path: Path) -> None:
    server.failures = [200, 200, 401]
    client = ChatClient(server.url, "m", tmp_path, concurrency=1)
    with pytest.raises(UserError, match=r"http://127.0.0.1:\d+/v1: status 401 .*set OPENAI_API_KEY"):
        list(client.complete_all(REQUESTS))
    assert client.responses.missing(REQUESTS) == REQUESTS[2:]
    assert len(list(client.complete_all(REQUESTS))) == 4
    assert len(server.asked) == 5


def test_the_key_comes_from_the_environment(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret-value")
    list(ChatClient(server.url, "m", tmp_path).complete_all(REQUESTS[:1]))
    monkeypatch.delenv("OPENAI_API_KEY")
    list(ChatClient(server.url, "m", tmp_path).complete_all(REQUESTS[1:2]))
    assert server.keys == ["Bearer secret-value", "Bearer none"]
    assert all("secret-value" not in path.read_text() for path in tmp_path.iterdir())


def test_a_proxy_is_not_asked_for_this_machine(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert len(list(ChatClient(server.url, "m", tmp_path, max_retries=0).complete_all(REQUESTS[:1]))) == 1


def test_a_dead_port_is_one_message(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(UserError, match=rf"{url}: no answer .*check that the server runs and that synthesis.endpoint is its URL"):
        list(ChatClient(url, "m", tmp_path, max_retries=1).complete_all(REQUESTS))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("endpoint", ["localhost:8000", "", "ftp://host/v1"])
def test_an_endpoint_is_a_url(endpoint: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not an http:// or https:// URL"):
        ChatClient(endpoint, "m", tmp_path)


def test_everything_that_decides_an_answer_is_in_its_key() -> None:
    request = REQUESTS[0]
    changed = [replace(request, **{name: value}) for name, value in
               {"system": "", "user": "", "max_tokens": 1, "temperature": 0.0, "seed": 9}.items()]  # fmt: skip
    assert len({request.key("m"), request.key("n"), *(other.key("m") for other in changed)}) == 7


def test_a_damaged_response_is_named(server: Server, tmp_path: Path) -> None:
    client = ChatClient(server.url, "m", tmp_path)
    ((key, _),) = client.complete_all(REQUESTS[:1])
    (tmp_path / f"{key}.json").write_text('{"model"')
    with pytest.raises(UserError, match=rf"{key}.json: not valid JSON"):
        list(client.complete_all(REQUESTS[:1]))
