"""JSONL to .bin/.idx: preprocess-data beside Megatron-LM's loop, the same file, tokenizer and number of workers.

    .venv/bin/python -m benchmarks.tokens.tokenize                    # 100 MB, 1 and 2 workers, three pairs of each
    .venv/bin/python -m benchmarks.tokens.tokenize --megabytes 20 --times 1

Whole commands, one after the other in pairs, start of the interpreter included; `steady` leaves out what the same
command takes for one document. The outputs are compared byte for byte.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.harness import Result, Usage, least, megatron_snow, run
from benchmarks.tokens import inputs

OURS, THEIRS = "megatron_snow", "Megatron-LM's loop"
_LOOP = Path(__file__).with_name("peers") / "megatron_loop.py"
_PACKAGES = ("megatron-core", "sentencepiece", "tokenizers", "fastokens")


def commands(source: Path, model: Path, folder: Path, workers: int) -> dict[str, list[str | Path]]:
    """Both commands; each writes into a folder of its own."""
    options = ["--input", source, "--tokenizer-model", model, "--append-eod", "--workers", str(workers)]
    return {
        THEIRS: [sys.executable, _LOOP, *options, "--output-prefix", folder / "theirs"],
        OURS: [*megatron_snow("preprocess-data"), *options, "--output-prefix", folder / "ours"],
    }


def once(command: list[str | Path], prefix: Path) -> Usage:
    """Run a command that writes `prefix`, without what an earlier run left."""
    for path in prefix.parent.glob(f"{prefix.name}*"):
        path.unlink()
    return run(command)


def check_same(folder: Path) -> None:
    """SystemExit where the two outputs differ in a byte."""
    for suffix in (".bin", ".idx"):
        names = [folder / f"{who}_text_document{suffix}" for who in ("theirs", "ours")]
        if not filecmp.cmp(*names, shallow=False):
            sys.exit(f"{names[0]} and {names[1]} differ")


def pairs(source: Path, model: Path, folder: Path, workers: int, times: int) -> dict[str, list[Usage]]:
    """Alternating runs of both, their outputs compared."""
    runs: dict[str, list[Usage]] = {THEIRS: [], OURS: []}
    for number in range(times):
        both = list(commands(source, model, folder, workers).items())
        for who, command in both if number % 2 == 0 else reversed(both):
            runs[who].append(once(command, folder / ("ours" if who == OURS else "theirs")))
        check_same(folder)
    return runs


def measure(result: Result, name: str, megabytes: int, workers: int, times: int) -> None:
    """Rows of both, and how many times faster ours is."""
    source, model = inputs.documents(megabytes), inputs.model(name, megabytes)
    with open(source, encoding="utf-8") as file:
        size = sum(len(json.loads(line)["text"].encode()) for line in file)
    with tempfile.TemporaryDirectory(dir=inputs.INPUTS) as temporary, open(source, encoding="utf-8") as file:
        folder = Path(temporary)
        one = folder / "one.jsonl"
        one.write_text(file.readline(), encoding="utf-8")
        start = {who: median(usage.wall_seconds for usage in usages) for who, usages in pairs(one, model, folder, workers, times).items()}
        runs = pairs(source, model, folder, workers, times)
    wall = {who: median(usage.wall_seconds for usage in usages) for who, usages in runs.items()}
    steady = {who: max(seconds - start[who], 0.01) for who, seconds in wall.items()}
    for who, usages in runs.items():
        rates = {"mb_per_second": size / 1e6 / wall[who], "mb_per_second_steady": size / 1e6 / steady[who]}
        facts = {key: round(value, 2) for key, value in rates.items()} | {"start_seconds": round(start[who], 2)}
        result.add(f"{name}, {workers} workers, {who}", least(usages), size, **facts)
    cpu = {who: least(usages).cpu_seconds for who, usages in runs.items()}
    result.rows[-1] |= {
        "times_faster": round(wall[THEIRS] / wall[OURS], 2),
        "times_faster_steady": round(steady[THEIRS] / steady[OURS], 2),
        "times_less_cpu": round(cpu[THEIRS] / cpu[OURS], 2),
        "identical": True,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--times", type=int, default=3)
    args = parser.parse_args()
    inputs.INPUTS.mkdir(parents=True, exist_ok=True)
    result = Result("tokenize", "benchmarks.tokens", _PACKAGES)
    for name in (inputs.SENTENCEPIECE, inputs.BYTE_LEVEL):
        for workers in args.workers:
            measure(result, name, args.megabytes, workers, args.times)
    result.save()


if __name__ == "__main__":
    main()
