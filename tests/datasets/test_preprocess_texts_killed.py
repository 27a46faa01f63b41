"""preprocess-data killed for real, at any moment, and started again: same bytes, and what was done is not done twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from megatron_snow.datasets import tokenize_texts

FINAL = ("x_text_document.bin", "x_text_document.idx", "x_text_document.seal.json", "x_name_document.bin", "x_name_document.idx")

RUN = """
import os, sys
from pathlib import Path
from megatron_snow.datasets import text_columns, tokenize_texts
from megatron_snow.pipeline import Execution
text_columns._SMALLEST_PIECE = 80_000
source, model, prefix, workers, step = sys.argv[1:]
left, plan = int(step), Path(prefix + ".parts") / "join.json"
def watch(event, arguments):
    global left
    if event in ("os.rename", "os.remove", "os.truncate", "shutil.rmtree") and str(arguments[0]).startswith(prefix) and plan.exists():
        left -= 1
        if left == 0:
            os.kill(os.getpid(), 9)
if left:
    sys.addaudithook(watch)
if __name__ == "__main__":
    execution = Execution("pool", int(workers))
    tokenize_texts([Path(source)], Path(model), Path(prefix), keys=["text", "name"], append_eod=True, execution=execution)
"""


@pytest.fixture(scope="module")
def source(code_documents: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "code.jsonl"
    path.write_text("".join(json.dumps({"text": document["content"], "name": document["path"]}) + "\n" for document in code_documents[:60]))
    return path


@pytest.fixture(scope="module")
def unbroken(source: Path, code_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("unbroken")
    tokenize_texts([source], code_tokenizer, folder / "x", keys=["text", "name"], append_eod=True)
    return {name: (folder / name).read_bytes() for name in FINAL}


@pytest.fixture
def start(source: Path, code_tokenizer: Path, tmp_path: Path) -> Callable[..., subprocess.Popen[bytes]]:
    script = tmp_path / "run.py"
    script.write_text(RUN)

    def run(workers: int, step: int = 0) -> subprocess.Popen[bytes]:
        arguments = [str(source), str(code_tokenizer), str(tmp_path / "out" / "x"), str(workers), str(step)]
        return subprocess.Popen([sys.executable, str(script), *arguments], stderr=subprocess.DEVNULL)

    return run


def test_killed_while_pieces_are_encoded(start: Callable[..., Any], tmp_path: Path, unbroken: dict[str, bytes]) -> None:
    """SIGKILL after some parts are done, with two workers, again and again: each run leaves no worker and goes on."""
    out, generator, done = tmp_path / "out", random.Random(7), 0
    for _ in range(3):
        process = start(workers=2)
        deadline = time.monotonic() + 60
        while len(list(out.glob("x.parts/[!.]*.record.json"))) <= done and process.poll() is None:
            assert time.monotonic() < deadline, "no piece was done within a minute"
            time.sleep(0.002)
        time.sleep(generator.random() / 50)
        workers = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
        process.wait()
        assert not psutil.wait_procs(workers, timeout=20)[1]
        done = len(list(out.glob("x.parts/[!.]*.record.json")))
    assert done >= 3 or (out / "x.record.json").is_file()
    assert start(workers=1).wait(timeout=60) == 0
    assert {name: (out / name).read_bytes() for name in FINAL} == unbroken
    assert {path.name for path in out.iterdir()} == {*FINAL, "x_name_document.seal.json", "x.record.json"}


@pytest.mark.slow
def test_killed_at_any_step_of_joining(start: Callable[..., Any], tmp_path: Path, unbroken: dict[str, bytes]) -> None:
    """SIGKILL before the n-th file is renamed, cut or deleted, for every n: joining, sealing and giving final names."""
    out = tmp_path / "out"
    for step in range(1, 100):
        ended = start(workers=1, step=step).wait(timeout=60)
        for name in FINAL:  # whole or not there, whatever happened
            if name.endswith(".idx") and (out / name).exists():
                assert (out / name).read_bytes() == unbroken[name]
                assert (out / name.replace(".idx", ".bin")).read_bytes() == unbroken[name.replace(".idx", ".bin")]
        assert start(workers=1).wait(timeout=60) == 0
        assert {name: (out / name).read_bytes() for name in FINAL} == unbroken
        assert {path.name for path in out.iterdir()} == {*FINAL, "x_name_document.seal.json", "x.record.json"}
        if ended == 0:
            assert step > 15
            return
        assert ended == -signal.SIGKILL
        for path in out.iterdir():
            os.remove(path)
    raise AssertionError("it never came to its end")
