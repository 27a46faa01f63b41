"""SIGKILL in the middle of saves of a real process: a whole checkpoint is always there afterwards."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from megatron_snow.checkpoint import CheckpointStore

# Saves step after step without a pause: two shards whose bytes all say which step wrote them.
SAVER = """
import sys
from pathlib import Path
from megatron_snow.checkpoint import CheckpointStore

store = CheckpointStore(Path(sys.argv[1]), keep=2)
latest = store.latest()
step = latest.step if latest else 0
print("ready", flush=True)
while True:
    step += 1
    def write(folder):
        (folder / "model").mkdir()
        for shard in range(2):
            (folder / "model" / str(shard)).write_bytes(bytes([step % 251]) * 500_000)
    store.save(step, write, {"samples": step * 32}, keep_forever=step % 50 == 0)
"""


def test_killed_saves_lose_nothing(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    chance = random.Random(7)
    before = 0
    for _ in range(12):
        process = subprocess.Popen([sys.executable, "-c", SAVER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        while max(store.steps(), default=0) <= before:  # one commit of its own, then a kill anywhere in what follows
            assert process.poll() is None
            time.sleep(0.001)
        time.sleep(chance.uniform(0.0, 0.06))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        latest = store.latest()  # verifies every byte; it must never fall back, for nothing is damaged
        assert latest is not None
        assert latest.step == store.steps()[-1] >= before
        assert latest.state["samples"] == latest.step * 32
        assert {(latest.model / shard).read_bytes() for shard in "01"} == {bytes([latest.step % 251]) * 500_000}
        before = latest.step
    assert before >= 12
