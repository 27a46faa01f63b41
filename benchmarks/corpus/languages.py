"""Languages of real files: documents a CPU second, beside go-enry asked with the content of every file.

.venv/bin/python -m benchmarks.corpus.languages [--megabytes 60]
"""

from __future__ import annotations

import argparse

import enry

from benchmarks.corpus.inputs import json_lines
from benchmarks.harness import Result, best
from megatron_snow.corpus.language import linguist_language
from megatron_snow.pipeline import read_documents


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=60)
    args = parser.parse_args()
    files = [(row["path"], row["content"].encode()) for row in read_documents(json_lines(args.megabytes), ["path", "content"])]
    size = sum(len(content) for _, content in files)
    result = Result("languages")
    for name, function in (("megatron_snow", linguist_language), ("enry", _enry)):
        seconds = best(lambda: [function(path, content) for path, content in files], 3)  # noqa: B023
        result.add(name, seconds, size, documents=len(files), documents_per_second=round(len(files) / seconds))
    differing = sum(linguist_language(*file) != _enry(*file) for file in files)
    result.add("answers that differ", 0.0, count=differing)
    result.save()


def _enry(path: str, content: bytes) -> str:
    return str(enry.get_language(path.rpartition("/")[2], content))


if __name__ == "__main__":
    main()
