"""Finding 2,000 needles: our search, BigCode's `needle in text` and one Aho-Corasick automaton (ahocorasick_rs).

    .venv/bin/python -m benchmarks.corpus.decontamination --benchmarks humaneval mbpp.jsonl.gz ...

The first 2,000 texts of the benchmarks' tasks. Ours finds any run of ten words of them, whatever the case, white space and
punctuation between; the other two find them whole, in texts that were lowered and normalised first (not counted).
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
from pathlib import Path

from benchmarks.corpus.inputs import json_lines
from benchmarks.harness import Result, best
from benchmarks.peers import python_of
from megatron_snow.corpus.decontamination.index import Index
from megatron_snow.corpus.decontamination.needles import Needle, needles_of
from megatron_snow.pipeline import batches_of, texts_of

_NEEDLES = 2000
_SLOW_TEXTS = 400  # that `needle in text` gets
_AUTOMATON = """
import json, sys, time
from ahocorasick_rs import AhoCorasick
needles, texts = json.load(open(sys.argv[1], encoding="utf-8"))
best = 1e9
for _ in range(3):
    started = time.process_time()
    automaton = AhoCorasick(needles)
    found = sum(bool(automaton.find_matches_as_indexes(text)) for text in texts)
    best = min(best, time.process_time() - started)
print(json.dumps([best, found]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=60)
    parser.add_argument("--benchmarks", nargs="+", default=["humaneval"], metavar="NAME_OR_FILE")
    args = parser.parse_args()
    needles = [needle for name in args.benchmarks for needle in needles_of(name)][:_NEEDLES]
    batches = list(batches_of(json_lines(args.megabytes)))
    texts = [texts_of(batch["content"]) for batch in batches]
    size, index = sum(len(each.data) for each in texts), Index(needles)
    result = Result("decontamination")
    found = len({(number, int(hit["text"])) for number, each in enumerate(texts) for hit in index.search(each)})
    seconds = best(lambda: [index.search(each) for each in texts])
    result.add("megatron_snow", seconds, size, needles=len(needles), runs=len(index.runs.keys), documents_found=found)
    result.add("megatron_snow, building the index", best(lambda: Index(needles), 2), needles=len(needles))
    _others(result, needles, [_normal(text) for batch in batches for text in batch["content"].to_pylist()])
    result.save()


def _others(result: Result, needles: list[Needle], texts: list[str]) -> None:
    whole = [_normal(needle.text) for needle in needles]
    some = texts[:_SLOW_TEXTS]
    seconds = best(lambda: [any(needle in text for needle in whole) for text in some], 1)
    result.add("needle in text", seconds, sum(len(text.encode()) for text in some), needles=len(whole))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "texts.json")
        path.write_text(json.dumps([whole, texts]), encoding="utf-8")
        answer = subprocess.run([python_of("ahocorasick"), "-c", _AUTOMATON, path], capture_output=True, text=True, check=True)
    seconds, found = json.loads(answer.stdout)
    result.add("ahocorasick_rs", seconds, sum(len(text.encode()) for text in texts), needles=len(whole), documents_found=found)


def _normal(text: str) -> str:
    return re.sub(r"\s+", " ", text.lower()).strip()


if __name__ == "__main__":
    main()
