"""Filters and encoded data, in memory, beside the regular expressions that define them.

.venv/bin/python -m benchmarks.corpus.filters [--megabytes 60]
"""

from __future__ import annotations

import argparse
from itertools import islice

import numpy as np
import pyarrow as pa

from benchmarks.corpus.inputs import json_lines
from benchmarks.harness import Result, best
from megatron_snow.corpus.filters.encoded import encoded_in, find_encoded
from megatron_snow.corpus.filters.loading import load_profile, profile_names
from megatron_snow.corpus.filters.rules import verdicts
from megatron_snow.pipeline import batches_of, texts_of

_SLOW_TEXTS = 400  # that Python's regular expressions get


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=60)
    args = parser.parse_args()
    batches = list(batches_of(json_lines(args.megabytes)))
    texts = [texts_of(batch["content"]) for batch in batches]
    size = sum(len(each.data) for each in texts)
    result = Result("filters")
    for name in profile_names():
        profile = load_profile(name)
        inside = [_inside(batch, profile.languages) for batch in batches]
        seconds = best(lambda: [verdicts(profile, batch) for batch in inside], 3)  # noqa: B023
        dropped = sum(verdict != "" for batch in inside for verdict in verdicts(profile, batch).to_pylist())
        read = sum(len(texts_of(batch["content"]).data) for batch in inside)
        result.add(f"profile {name}", seconds, read, documents=sum(batch.num_rows for batch in inside), dropped=dropped)
    everything = [np.arange(len(each)) for each in texts]
    result.add("encoded data", best(lambda: [find_encoded(*pair) for pair in zip(texts, everything)]), size)
    some = list(islice((text for batch in batches for text in batch["content"].to_pylist()), _SLOW_TEXTS))
    result.add("encoded data, re", best(lambda: [encoded_in(text) for text in some], 2), sum(len(text.encode()) for text in some))
    result.save()


def _inside(batch: pa.Table, languages: tuple[str, ...]) -> pa.Table:
    """What a profile for some languages looks at."""
    if not languages:
        return batch
    return batch.filter(pa.array([language in languages for language in batch["language"].to_pylist()])).combine_chunks()


if __name__ == "__main__":
    main()
