"""Pass 1: texts to facts and keys, a task a shard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from megatron_snow.common.digests import digests_of
from megatron_snow.common.files import beside
from megatron_snow.corpus.deduplication.ranks import COLUMNS, ranks_of
from megatron_snow.corpus.deduplication.signed import SUFFIX, Shape, Signed
from megatron_snow.corpus.shingles import band_keys
from megatron_snow.pipeline import batches_of, texts_of


def sign_shard(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: a shard's facts and band keys."""
    shape = Shape(parameters["ngram"], parameters["bands"], parameters["rows"])
    digests = [np.empty((0, 16), np.uint8)]
    ranks, keys = [np.empty((4, 0), np.uint64)], [np.empty((0, shape.bands), np.uint64)]
    runs = [np.empty(0, np.int64)]
    for batch in batches_of(inputs[0], ["content", *COLUMNS], parameters.get("piece")):
        texts = texts_of(batch["content"])
        digests.append(digests_of(*texts))
        ranks.append(ranks_of(batch))
        found, counts = band_keys(texts, shape.ngram, shape.bands, shape.rows)
        keys.append(found)
        runs.append(counts)
    signed = Signed.of(shape, np.concatenate(digests), np.concatenate(ranks, 1), np.concatenate(runs), np.concatenate(keys))
    signed.write(beside(prefix, SUFFIX))
    return {"documents": signed.facts.shape[1], "keys": len(signed.keys)}
