"""megatron-core's GPTDataset and BlendedDataset over files, without a tokenizer or a process group."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from megatron.core.datasets.blended_dataset import BlendedDataset
from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
from megatron.core.datasets.indexed_dataset import IndexedDataset
from megatron.core.datasets.utils import Split


def open_gpt_dataset(prefix: Path, seq_length: int, cache: Path, samples: int | None = None) -> GPTDataset:
    """One pass over a dataset, or `samples` samples; its indices are built into `cache`, or found there."""
    data = IndexedDataset(str(prefix), mmap=True)
    indices = np.arange(len(data), dtype=np.int32)
    return GPTDataset(data, str(prefix), indices, samples, Split.train, _config(seq_length, cache))


def open_blended_dataset(prefixes: Sequence[Path], seq_length: int, cache: Path, samples: int) -> BlendedDataset:
    """Equal parts of each dataset."""
    each = -(-samples // len(prefixes)) + 1
    datasets = [open_gpt_dataset(prefix, seq_length, cache, each) for prefix in prefixes]
    return BlendedDataset(
        datasets, [1 / len(prefixes)] * len(prefixes), samples, _config(seq_length, None)
    )  # its own cache takes a process group


def _config(seq_length: int, cache: Path | None) -> GPTDatasetConfig:
    # As pretrain_gpt.py has it where a kernel makes the causal mask.
    return GPTDatasetConfig(
        random_seed=1234, sequence_length=seq_length, split="1", path_to_cache=cache and str(cache), tokenizer=_Tokenizer(),
        reset_position_ids=False, reset_attention_mask=False, eod_mask_loss=False, create_attention_mask=False,
    )  # fmt: skip


class _Tokenizer(SimpleNamespace):
    """What the configuration asks a tokenizer for."""

    eod = pad = 0
    vocab_size = 32_000
    unique_identifiers = {"class": "none"}  # noqa: RUF012
