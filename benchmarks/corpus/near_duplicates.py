"""Near-deduplication, JSONL to clusters, beside its peers; recall and precision against exact Jaccard.

    .venv/bin/python -m benchmarks.corpus.near_duplicates                  # 60 MB
    .venv/bin/python -m benchmarks.corpus.near_duplicates --megabytes 10 --peers rensa --times 1

"The verb" is a process from its start to the survivors on disk; "to clusters" is what the peers do, in a process that has started.
All use 5-grams of words, 25 bands x 10 rows, threshold 0.7, one process. Truth is by our words (`\\w+`, case kept);
datatrove (spaCy's words) and text-dedup (`\\W` split, lower case) have their own, so a part of what they miss is that.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.corpus.inputs import json_lines
from benchmarks.corpus.truth import judge, truth_of
from benchmarks.harness import Result, Usage, least, megatron_snow, run
from benchmarks.peers import python_of
from megatron_snow.common.records import Manifest
from megatron_snow.config import Corpus
from megatron_snow.corpus.deduplication import stage
from megatron_snow.pipeline import Stage

PEERS = ("rensa", "datasketch", "text-dedup", "datatrove")
_SCRIPTS = Path(__file__).with_name("peers")


def ours(source: Path, times: int) -> tuple[Usage, list[str]]:
    """The verb, start of the interpreter and writing of the survivors included; the cluster of each document by its place."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out"
        runs = []
        for _ in range(times):
            shutil.rmtree(output, ignore_errors=True)
            runs.append(run(megatron_snow("deduplicate-corpus", "--input", source, "--output", output, "--executor", "inline")))
        return least(runs), _labels(source, output)


def passes(source: Path, times: int) -> Counter[str]:
    """CPU seconds of each pass in a process that has started, the best of several; the last writes the survivors' text."""
    before, best = stage.run_stage, Counter[str]()
    for _ in range(times):
        seconds = Counter[str]()

        def timed(what: Stage, *args: Any, seconds: Counter[str] = seconds) -> Manifest:
            started = time.process_time()
            manifest = before(what, *args)
            seconds[what.name] += time.process_time() - started
            return manifest

        with tempfile.TemporaryDirectory() as folder, patch.object(stage, "run_stage", timed):
            stage.deduplicate(Corpus(), [source], Path(folder, "out"))
        best = min(best or seconds, seconds, key=Counter.total)
    return best


def _labels(source: Path, output: Path) -> list[str]:
    """Survivors are named by their own id; what was dropped stands in duplicates.jsonl, in the order of the input."""
    clusters = {}
    for path in sorted(output.glob("*.duplicates.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            clusters[row["repository"], row["path"], row["id"]] = row["cluster_id"]
    with open(source, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [clusters.get((row["repository"], row["path"], row["id"]), row["id"]) for row in rows]


def peer(name: str, source: Path, times: int) -> tuple[Usage, list[object]]:
    """A peer's script in its own environment."""
    script = _SCRIPTS / f"run_{name.replace('-', '_')}.py"
    with tempfile.TemporaryDirectory() as folder:
        clusters = Path(folder) / "clusters.json"
        usage = least([run([python_of(name), script, source, clusters]) for _ in range(times)])
        return usage, json.loads(clusters.read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=60)
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    parser.add_argument("--times", type=int, default=3)
    args = parser.parse_args()
    source = json_lines(args.megabytes)
    with open(source, encoding="utf-8") as file:
        texts = [json.loads(line)["content"] for line in file]
    size = sum(len(text.encode()) for text in texts)
    pairs, clusters = truth_of(texts)
    result = Result("near_duplicates")
    result.add("truth", 0.0, documents=len(texts), text_bytes=size, pairs=len(pairs), kept=len(set(clusters)))
    usage, labels = ours(source, args.times)
    judged = judge(labels, pairs, clusters)
    result.add("megatron_snow, the verb", usage, size, **judged)
    seconds = passes(source, args.times)
    result.add("megatron_snow, to clusters", seconds.total() - seconds["deduplicate"], size, **judged)
    result.add("megatron_snow, writing survivors", seconds["deduplicate"], size)
    for name in args.peers:
        usage, labels = peer(name, source, args.times if name == "rensa" else 1)
        result.add(name, usage, size, **judge(labels, pairs, clusters))
    result.save()


if __name__ == "__main__":
    main()
