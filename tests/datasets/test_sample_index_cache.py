"""The file of an index: built once by many processes, never read half-written or damaged."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.common.files import PARTIAL
from megatron_snow.common.locks import FolderLock
from megatron_snow.datasets import index_cache
from megatron_snow.datasets.sample_index import SampleIndex
from tests.datasets.made import written

# Opens an index when it is told to, slowed down where it says so; prints whether it was built here, and a sample.
OPEN = """
import sys, time
from pathlib import Path
import numpy as np
from megatron_snow.datasets import IndexedDataset, index_cache, sample_index
make = sample_index.concatenate
def slowly(lengths, sequences, seq_length):
    print("builds", flush=True)
    made = make(lengths, sequences, seq_length)
    def chunks():
        yield from made.chunks
        time.sleep(float(sys.argv[2]))
    return index_cache.Made(made.tokens, made.samples, made.rows, made.row_bytes, made.packed, chunks())
sample_index.concatenate = slowly
data = IndexedDataset(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
index = sample_index.SampleIndex.open(data, seq_length=8, key=1)
print(index.built, index.read(3, out := np.empty(9, np.int64)), out.tolist(), flush=True)
"""


def start(prefix: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", OPEN, str(prefix), str(seconds)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.write("go\n")
    process.stdin.flush()


def test_of_eight_processes_one_builds(tmp_path: Path) -> None:
    written(tmp_path / "Python", [50, 70, 400])
    processes = [start(tmp_path / "Python", 0.5) for _ in range(8)]
    for process in processes:
        go(process)
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 8
    assert sum("builds" in output for output in outputs) == 1
    assert sum("True" in output for output in outputs) == 1
    assert len({output.split(" ", 1)[1] for output in outputs}) == 1
    assert len(list((tmp_path / "index").iterdir())) == 1  # no lock, nothing half-written


def test_the_next_one_builds_when_the_builder_is_killed(tmp_path: Path) -> None:
    written(tmp_path / "Python", [50, 70, 400])
    first, second = start(tmp_path / "Python", 60), start(tmp_path / "Python", 0)
    go(first)
    assert first.stdout
    assert first.stdout.readline() == "builds\n"
    while not list((tmp_path / "index").glob(f"*{PARTIAL}")):
        time.sleep(0.01)
    go(second)
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(1)  # it waits for the first
    first.send_signal(signal.SIGKILL)
    first.wait()
    output, _ = second.communicate(timeout=60)
    assert output.startswith("builds\nTrue 9 ")
    assert not SampleIndex.open(written(tmp_path / "Python", [50, 70, 400]), seq_length=8, key=1).built


def test_what_a_kill_left_is_removed_when_it_is_old(tmp_path: Path) -> None:
    data = written(tmp_path / "Python", [100])
    path = SampleIndex.open(data, seq_length=8, key=1).path
    path.unlink()
    old, young = (path.with_name(f"{path.name}.{host}.1{PARTIAL}") for host in ("old", "young"))
    old.touch()
    young.touch()
    os.utime(old, (time.time() - 1e5,) * 2)
    assert SampleIndex.open(data, seq_length=8, key=1).built
    assert not old.exists()
    assert young.exists()


def test_one_that_waits_too_long_builds_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    data = written(tmp_path / "Python", [100])
    path = SampleIndex.open(data, seq_length=8, key=1).path
    path.unlink()
    monkeypatch.setattr(index_cache, "_PATIENCE", 0.2)
    with FolderLock(path.parent, path.name):
        assert SampleIndex.open(data, seq_length=8, key=1).built
    assert "is not there after" in caplog.text


@pytest.mark.parametrize("place", [0, 9, 20, 64, 100, -1])
def test_a_damaged_file_is_built_again(tmp_path: Path, place: int, caplog: pytest.LogCaptureFixture) -> None:
    data = written(tmp_path / "Python", [100])
    index = SampleIndex.open(data, seq_length=8, key=1)
    content = bytearray(index.path.read_bytes())
    whole = bytes(content)
    content[place] ^= 0x10
    index.path.unlink()
    index.path.write_bytes(content)
    assert SampleIndex.open(data, seq_length=8, key=1).built
    assert "is damaged" in caplog.text
    assert index.path.read_bytes() == whole
    assert not SampleIndex.open(data, seq_length=8, key=1).built


@pytest.mark.parametrize("size", [0, 1, 63, 64, 79, 80, 100])
def test_a_cut_file_is_built_again(tmp_path: Path, size: int) -> None:
    data = written(tmp_path / "Python", [100])
    index = SampleIndex.open(data, seq_length=8, key=1)
    whole = index.path.read_bytes()
    index.path.unlink()
    index.path.write_bytes(whole[:size])
    again = SampleIndex.open(data, seq_length=8, key=1)
    assert again.built
    assert again.path.read_bytes() == whole


def test_whatever_changes_the_samples_changes_the_name(tmp_path: Path) -> None:
    data = written(tmp_path / "Python", [100, 50])
    base = {"seq_length": 8, "key": 1}
    choices = [{}, {"seq_length": 9}, {"key": 2}, {"passes": 2}, {"packing": "best_fit"}, {"documents": index_cache_subset()}]
    names = [SampleIndex.open(data, **base | choice).path.name for choice in choices]
    names.append(SampleIndex.open(written(tmp_path / "Python", [50, 100]), **base).path.name)
    assert len(set(names)) == len(choices) + 1


def index_cache_subset() -> object:
    from megatron_snow.datasets.order import Subset

    return Subset(1, 5)


def test_a_folder_that_cannot_be_written_gives_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A file in place of the folder: no chmod stops root."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data = written(tmp_path / "Python", [100])
    (tmp_path / "index").touch()
    index = SampleIndex.open(data, seq_length=8, key=1)
    assert index.path.parent == tmp_path / "cache" / "megatron_snow" / "index"
    assert f"{tmp_path / 'index'} cannot be written" in caplog.text
    caplog.clear()
    assert not SampleIndex.open(data, seq_length=8, key=1).built
    assert not caplog.text


@pytest.mark.parametrize("packing", ["concatenate", "best_fit"])
def test_a_lie_with_the_right_digest_reads_nothing_outside(tmp_path: Path, packing: str) -> None:
    """1,000 files with changed bytes and a digest that fits them: refused or read from the .bin alone, no crash."""
    data = written(tmp_path / "Python", [30, 0, 7, 200, 12])
    index = SampleIndex.open(data, seq_length=8, key=1, packing=packing)
    content = np.frombuffer(index.path.read_bytes(), np.uint8)[:-16].copy()
    rng, refused = np.random.default_rng(1), 0
    for _ in range(1000):
        lie = content.copy()
        places = rng.integers(8, len(lie), rng.integers(1, 4))
        lie[places] = rng.choice([0, 1, 8, 127, 128, 255], len(places))
        index.path.unlink()
        index.path.write_bytes(lie.tobytes() + index_cache.content_digest(lie))
        found = SampleIndex.open(data, seq_length=8, key=1, packing=packing)
        refused += found.built
        for k in range(len(found)):
            row, segments = np.full((1, 9), -7), np.empty((1, 9), np.int32)
            try:
                count = found.read(k, row[0])
                assert sum(span.count for span in found.spans(k)) == count
                found.segments([k], np.zeros(0, np.int64), segments)
                assert (row[0, :count] >= 0).all()
            except UserError:
                refused += 1
    assert refused > 500
