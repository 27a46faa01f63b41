"""Memory of the passes over partitions against their setting, and a run that is killed in every pass."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megatron_snow.common.records import read_json, read_manifest
from megatron_snow.config import Corpus
from megatron_snow.corpus.deduplication.candidates import BYTES, find_candidates
from megatron_snow.corpus.deduplication.exact import find_exact
from megatron_snow.corpus.deduplication.signed import SUFFIX, Shape, Signed
from megatron_snow.corpus.deduplication.units import join_pairs, make_plan
from megatron_snow.corpus.deduplication.verifying import verify_bin
from megatron_snow.corpus.stages import deduplicate
from tests.corpus.near_copies import edited

MEMORY = 10_000_000  # the least that corpus.memory_bytes may be


on_linux = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from Linux' /proc")


def peak_bytes(work: Callable[..., Any], inputs: list[Path], prefix: Path, parameters: Mapping[str, Any]) -> int:
    """The most memory that a task takes in a process of its own, over what the process takes before it; the least of three.

    The kernel maps pages of files around those that are read, more or fewer as memory is short or not.
    """
    peaks = []
    for _ in range(3):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            peaks.append(pool.submit(_measure, work, inputs, prefix, parameters).result())
    return min(peaks)


def _measure(work: Callable[..., Any], inputs: list[Path], prefix: Path, parameters: Mapping[str, Any]) -> int:
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew; getrusage would give that of the parent
    before = _peak()
    work(inputs, prefix, parameters)
    return _peak() - before


def _peak() -> int:
    return next(int(line.split()[1]) * 1024 for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))


@on_linux
def test_verifying_a_corpus_of_several_times_the_memory(checkouts: Path, tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    """Over 50 MB of real code, each file 40 times over with an edit: all of it are candidates."""
    texts = [path.read_text() for path in sorted(checkouts.rglob("*.py"))]
    copies = [edited(text, 0.002, seed) + f"\nseed = {seed}\n" for seed in range(40) for text in texts]
    shards = [write_shard(tmp_path / "in" / f"{n}.parquet", *({"content": text} for text in copies[n::4])) for n in range(4)]
    assert sum(map(len, copies)) > 5 * MEMORY
    out = tmp_path / "out"
    deduplicate(Corpus(memory_bytes=MEMORY), shards, out)
    sets = sum(path.stat().st_size for path in (out / "work" / "sets").glob("*.sets"))
    records = sorted((out / "work" / "near-pairs").glob("*.record.json"))
    assert sets > 3 * MEMORY
    assert len(records) > 5
    inputs = [out / "work" / "plan" / "plan.json", out / "work" / "components" / "components.npy"]
    for record in records[:3]:
        parameters = read_json(record)["made_from"]["parameters"]
        assert peak_bytes(verify_bin, inputs, out / "work" / "plan" / "peak", parameters) < MEMORY


@on_linux
def test_partitions_of_many_documents(tmp_path: Path) -> None:
    """200,000 documents with keys and digests drawn at random, a tenth of them in pairs: 60 MB of keys and 11 MB of facts."""
    draw, shape, count = np.random.default_rng(0), Shape(5, 25, 10), 50_000
    paths = [tmp_path / "signed" / f"{n}{SUFFIX}" for n in range(4)]
    paths[0].parent.mkdir()
    for path in paths:
        digests, keys = draw.integers(0, 256, (count, 16), np.uint8), draw.integers(0, 1 << 64, (count, 25), np.uint64)
        digests[: count // 40] = digests[-(count // 40) :]
        keys[: count // 20] = keys[-(count // 20) :]
        ranks = draw.integers(0, 1 << 62, (4, count), np.uint64)
        Signed.of(shape, digests, ranks, np.full(count, 9), keys).write(path)
    (tmp_path / "plan").mkdir()
    settings = {"ngram": 5, "bands": 25, "rows": 10, "old": 0, "names": ["0", "1", "2", "3"], "folders": ["../signed"] * 4}
    counts = make_plan(paths, tmp_path / "plan" / "plan", settings)
    plan = tmp_path / "plan" / "plan.json"
    assert counts == {"documents": 4 * count, "keys": 100 * count}
    exact = {"partition": 3, "partitions": -(-4 * count * 256 // MEMORY)}
    assert peak_bytes(find_exact, [plan], tmp_path / "exact", exact) < MEMORY
    join_pairs([plan, tmp_path / "exact.npy"], tmp_path / "first", {})
    for partitions in (-(-100 * count * BYTES // MEMORY), 4):  # 4: too few for the memory, so that it is taken in slices
        parameters = {"partition": 1, "partitions": partitions, "memory_bytes": MEMORY}
        peak = peak_bytes(find_candidates, [plan, tmp_path / "first.npy"], tmp_path / "links", parameters)
        assert peak < MEMORY + 8 * 4 * count  # and the array of exact survivors, mapped


PASSES = ("signatures", "plan", "exact-pairs", "exact", "candidates-pairs", "components", "sets", "near-pairs", "near", "")


@pytest.mark.slow
def test_a_run_killed_in_every_pass_ends_in_the_same_bytes(checkouts: Path, tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    texts = [path.read_text() for path in sorted(checkouts.rglob("*.py"))]
    texts += [edited(text, 0.02, seed) for seed, text in enumerate(texts)]
    shards = [write_shard(tmp_path / "in" / f"{n}.parquet", *({"content": text, "path": f"{n}"} for text in texts[n::3])) for n in range(3)]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    expected = deduplicate(Corpus(memory_bytes=MEMORY), shards, whole)
    command = [sys.executable, "-m", "megatron_snow.cli", "deduplicate-corpus", "--input", str(tmp_path / "in"), "--output", str(killed)]
    command = [sys.executable, "tools/deduplicate_corpus.py", *command[4:], "--memory-bytes", str(MEMORY), "--workers", "2"]
    kills = 0
    for name in PASSES:
        process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        folder = killed / "work" / name if name else killed
        while process.poll() is None and not any(folder.glob(".*")):  # its marker, or what a task is writing
            time.sleep(0.001)
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert kills >= len(PASSES) - 2
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True, capture_output=True)
    manifest = read_manifest(killed)
    assert manifest is not None
    assert (manifest.outputs, manifest.counts) == (expected.outputs, expected.counts)
    assert all((killed / name).read_bytes() == (whole / name).read_bytes() for name in expected.outputs)
