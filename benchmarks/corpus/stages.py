"""The corpus from archives to groups, stage by stage: CPU seconds, peak memory, how both grow, and a projection to 6 TB.

    .venv/bin/python -m benchmarks.corpus.stages                                   # 50, 200, 500 and 2,000 MB
    .venv/bin/python -m benchmarks.corpus.stages --megabytes 50 --times 1

Each stage is its verb in a process of its own (start of the interpreter included), one worker, on what the stage before
wrote. The first reads archives that together have the size in text; MB/s of "all stages" is that text over all CPU seconds.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.corpus.inputs import INPUTS, archives_with
from benchmarks.corpus.projection import project
from benchmarks.harness import Result, Usage, least, megatron_snow, run
from megatron_snow.common.records import read_manifest

SIZES = (50, 200, 500, 2000)
STAGES = ("collect", "filter", "deduplicate", "redact", "decontaminate", "group")


def commands(folder: Path, megabytes: int) -> dict[str, list[str | Path]]:
    """The command of each stage, reading what the one before wrote."""
    found: dict[str, list[str | Path]] = {}
    before: list[str | Path] = [word for path in archives_with(megabytes) for word in ("--source", f"archive:{path}")]
    for stage in STAGES:
        found[stage] = megatron_snow(f"{stage}-corpus", *before, "--output", folder / stage, "--executor", "inline")
        before = ["--input", folder / stage]
    return found


def measure(megabytes: int, times: int, keep: Callable[[str, Usage, Path], None]) -> None:
    """Run all stages `times` times; tell the best of each."""
    INPUTS.mkdir(parents=True, exist_ok=True)
    runs: dict[str, list[Usage]] = {stage: [] for stage in STAGES}
    with tempfile.TemporaryDirectory(dir=INPUTS) as temporary:
        folder = Path(temporary)
        for _ in range(times):
            for stage in STAGES:
                shutil.rmtree(folder / stage, ignore_errors=True)
            shutil.rmtree(folder / "held_out", ignore_errors=True)
            for stage, command in commands(folder, megabytes).items():
                runs[stage].append(run(command))
        for stage in STAGES:
            keep(stage, least(runs[stage]), folder / stage)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--times", type=int, default=2)
    args = parser.parse_args()
    result = Result("stages")
    for megabytes in args.megabytes:
        used: dict[str, Usage] = {}

        def keep(stage: str, usage: Usage, output: Path, megabytes: int = megabytes, used: dict[str, Usage] = used) -> None:
            manifest = read_manifest(output)
            counts = manifest.counts if manifest else {}
            used[stage] = usage
            facts = {name: counts.get(name, 0) for name in ("documents", "kept", "kept_bytes")}
            result.add(stage, usage, counts.get("bytes", 0), asked_megabytes=megabytes, **facts)

        measure(megabytes, args.times, keep)
        text = next(row["kept_bytes"] for row in result.rows if row["what"] == "collect" and row["asked_megabytes"] == megabytes)
        every = sum(usage.cpu_seconds for usage in used.values())
        peak = max(usage.peak_bytes for usage in used.values())
        for what, seconds in (("all stages", every), ("all but redaction", every - used["redact"].cpu_seconds)):
            result.add(what, Usage(round(seconds, 3), 0.0, peak), text, asked_megabytes=megabytes)
    for row in project(result.rows):
        result.rows.append(row)
    result.save()


if __name__ == "__main__":
    main()
