"""Samples read and indices built, beside megatron-core's GPTDataset and BlendedDataset, from the same files.

.venv/bin/python -m benchmarks.tokens.reading [--documents 150000] [--seq-length 1024 4096]

The files are made up: random tokens (uint16) in documents of log-normal lengths, about 100 M tokens in each of two. GPTDataset
gives tokens, labels, mask of the loss and positions of a sample, ours its tokens and the numbers of its documents. One
process, all in the page cache; `building` is of both files' indices, without imports and without opening the files.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import CACHE, Result, best
from benchmarks.tokens.made import write_dataset
from benchmarks.tokens.peers.gpt_dataset import open_blended_dataset, open_gpt_dataset
from megatron_snow.config import Blend, Curve, Phase, Workspace
from megatron_snow.datasets import IndexedDataset, PhaseData
from megatron_snow.datasets.sample_index import SampleIndex

_SAMPLES = 20_000
_BATCH = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=150_000, help="of each of two files")
    parser.add_argument("--seq-length", type=int, nargs="+", default=[1024, 4096])
    args = parser.parse_args()
    result = Result("reading", "benchmarks.tokens", ("megatron-core", "torch"))
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        folder = Path(name)
        for language in ("Python", "C"):
            write_dataset(folder / language, args.documents)
        for seq_length in args.seq_length:
            _build(result, folder, seq_length)
            _read(result, folder, seq_length)
    result.save()


def _build(result: Result, folder: Path, seq_length: int) -> None:
    data = IndexedDataset(folder / "Python")

    def afresh(build: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            shutil.rmtree(folder / "index", ignore_errors=True)
            build()

        return run

    ours = best(afresh(lambda: SampleIndex.open(data, seq_length=seq_length, key=1)), 3)
    joint = best(afresh(lambda: SampleIndex.open(data, seq_length=seq_length, key=1, passes=10)), 3)
    tokens, samples = data.num_tokens, (data.num_tokens - 1) // seq_length
    theirs = best(afresh(lambda: open_gpt_dataset(data.prefix, seq_length, folder / "index")), 3)
    ten = best(afresh(lambda: open_gpt_dataset(data.prefix, seq_length, folder / "index", 10 * samples)), 3)
    for what, one, many in (("ours", ours, joint), ("GPTDataset", theirs, ten)):
        result.add(f"building, {what}", one, seq_length=seq_length, tokens=tokens, seconds_of_ten_passes=round(many, 4))


def _read(result: Result, folder: Path, seq_length: int) -> None:
    cache = folder / "index"
    index = SampleIndex.open(IndexedDataset(folder / "Python"), seq_length=seq_length, key=1)
    samples = min(_SAMPLES, len(index))
    one, two = (_phase(folder, names, seq_length, samples) for names in (("Python",), ("Python", "C")))
    gpt = open_gpt_dataset(folder / "Python", seq_length, cache, samples)
    blended = open_blended_dataset([folder / "Python", folder / "C"], seq_length, cache, samples)
    readers: list[tuple[str, Callable[[int], object], int]] = [
        ("one file, GPTDataset", gpt.__getitem__, 1),
        ("one file, ours", lambda i: one.read([i]), 1),
        (f"one file, ours, {_BATCH} at once", lambda i: one.read(range(i, i + _BATCH)), _BATCH),
        ("two files, BlendedDataset", blended.__getitem__, 1),
        ("two files, ours", lambda i: two.read([i]), 1),
        (f"two files, ours, {_BATCH} at once", lambda i: two.read(range(i, i + _BATCH)), _BATCH),
    ]
    for name, read, step in readers:
        count = samples // step * step
        seconds = best(lambda: [read(i) for i in range(0, count, step)], 3)  # noqa: B023
        rate = round(count * seq_length / seconds / 1e6, 1)
        result.add(f"reading, {name}", seconds, seq_length=seq_length, samples=count, million_tokens_per_cpu_second=rate)


def _phase(folder: Path, names: tuple[str, ...], seq_length: int, samples: int) -> PhaseData:
    data = tuple(Blend(str(folder / name)) for name in names)
    phase = Phase("benchmark", data, tokens=samples * seq_length, lr=Curve("constant", 1e-3))
    return PhaseData(phase, workspace=Workspace(folder), seq_length=seq_length, samples=samples, seed=1)


if __name__ == "__main__":
    main()
