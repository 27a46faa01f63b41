"""The order of samples: permutations, and the index of one pass over many documents, beside megatron-core's.

.venv/bin/python -m benchmarks.tokens.order [--documents 100000000] [--peer-documents 10000000] [--seq-length 8192]

The documents are made up: an .idx of log-normal lengths and a .bin that takes no disk. Each row is a process of its own;
`opening` and `importing` are what the others pay before they begin. `peak_of_index`: peak memory of the process, the mapped
.idx included, in sizes of that .idx.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.harness import CACHE, Result, best, least, run
from benchmarks.tokens.made import write_sparse_dataset

_POSITIONS = 10_000_000
_OURS, _PEER = ("opening", "four passes joint", "best_fit", "found, best_fit", "concatenate"), ("importing", "GPTDataset")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000_000)
    parser.add_argument("--peer-documents", type=int, default=10_000_000, help="on which megatron-core is measured too")
    parser.add_argument("--seq-length", type=int, default=8192)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--child", nargs=2, metavar=("WHAT", "PREFIX"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        _child(args.child[0], Path(args.child[1]), args.seq_length)
        return
    result = Result("order", "benchmarks.tokens", ("megatron-core",))
    _permutations(result)
    for documents, ours in ((args.peer_documents, (*_OURS, *_PEER)), (args.documents, _OURS)):
        _indices(result, documents, ours, args.seq_length, args.times)
    result.save()


def _permutations(result: Result) -> None:
    from megatron_snow.datasets.order import Permutation

    order, places = Permutation(_POSITIONS, 1), np.arange(_POSITIONS)
    for name, function in (("permutation", order), ("permutation, inverse", order.inverse)):
        seconds = best(lambda: function(places), 3)  # noqa: B023
        result.add(name, seconds, positions=_POSITIONS, nanoseconds_each=round(seconds / _POSITIONS * 1e9, 2))
    generator = np.random.RandomState(1)
    seconds = best(lambda: generator.shuffle(places), 3)
    result.add("NumPy's shuffle in place", seconds, positions=_POSITIONS, nanoseconds_each=round(seconds / _POSITIONS * 1e9, 2))


def _indices(result: Result, documents: int, names: tuple[str, ...], seq_length: int, times: int) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        prefix = Path(folder, "made")
        write_sparse_dataset(prefix, documents)
        size = prefix.with_name("made.idx").stat().st_size
        command = [sys.executable, "-m", "benchmarks.tokens.order", "--seq-length", str(seq_length), "--child"]
        for name in names:
            usages = []
            for _ in range(times):
                if "found" not in name:
                    shutil.rmtree(Path(folder, "index"), ignore_errors=True)
                usages.append(run([*command, name, prefix]))
            made = sum(path.stat().st_size for path in Path(folder, "index").glob("*")) if Path(folder, "index").is_dir() else 0
            peak = max(usage.peak_bytes for usage in usages)
            facts = {"documents": documents, "idx_bytes": size, "made_bytes": made, "peak_of_index": round(peak / size, 2)}
            result.add(name, least(usages), **facts)


def _child(what: str, prefix: Path, seq_length: int) -> None:
    if what in _PEER:
        from benchmarks.tokens.peers.gpt_dataset import open_gpt_dataset

        if what == "GPTDataset":
            open_gpt_dataset(prefix, seq_length, prefix.with_name("index"))
        return
    from megatron_snow.datasets import IndexedDataset
    from megatron_snow.datasets.sample_index import SampleIndex

    data = IndexedDataset(prefix)
    if what != "opening":
        packing = "best_fit" if "best_fit" in what else "concatenate"
        SampleIndex.open(data, seq_length=seq_length, key=1, passes=4 if "joint" in what else 1, packing=packing)


if __name__ == "__main__":
    main()
