"""What joining parts and taking documents down share: ranges, wide tokens, files that no sequence holds, cut sources."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.config import Tokens
from megatron_snow.datasets import IndexedDataset, Lineage, preprocess, splicing, tokenize_shards
from megatron_snow.datasets.lineage import TEXTS
from megatron_snow.datasets.sequences import NOTHING, Separation
from megatron_snow.datasets.splicing import ALONE, Splicer, Stretch, copy_range
from megatron_snow.pipeline import Execution, WouldRun, shards_in

SEPARATION = Separation(eod=0, separator=1, max_tokens=100)


def stretch(lengths: list[int], starts: list[int], joints: list[int]) -> Stretch:
    count = len(lengths)
    rows = pa.table({**{name: [f"{name}{i}" for i in range(count)] for name in TEXTS}, "size": [1] * count, "name_tokens": [0] * count})
    begins = np.arange(count) == 0
    zeros = np.zeros(count, np.int64)
    return Stretch(rows, np.array(starts, np.int64), np.array(lengths, np.int64), np.array(joints, np.int64), begins, zeros, zeros)


def test_separators_that_differ_are_written_and_others_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.array([5, 6, 1, 7, 9, 8, 8, 1, 4], np.uint16).tofile(tmp_path / "source")
    copied: list[tuple[int, int]] = []
    original = splicing.copy_range
    monkeypatch.setattr(splicing, "copy_range", lambda *args: (copied.append(args[2:]), original(*args)))
    with open(tmp_path / "source", "rb", buffering=0) as source, Splicer(tmp_path / "a", SEPARATION, np.dtype(np.uint16), 4, {}) as splicer:
        splicer.add(source, stretch([2, 1, 2, 1], [0, 3, 5, 8], [ALONE, 1, 9, 1]))
    assert IndexedDataset(tmp_path / "a")[0].tolist() == [5, 6, 1, 7, 1, 8, 8, 1, 4, 0]
    assert copied == [(0, 8), (10, 8)]
    assert [Lineage(tmp_path / "a").extent(number) for number in range(4)] == [(0, 3), (3, 5), (5, 8), (8, 10)]


def test_a_kernel_that_cannot_copy_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> int:
        raise OSError(38, "not implemented")

    (tmp_path / "source").write_bytes(bytes(range(256)) * 40)
    for name in ("kernel", "plain"):
        with open(tmp_path / "source", "rb", buffering=0) as source, open(tmp_path / name, "wb", buffering=0) as target:
            target.write(b"before")
            copy_range(source, target, 7, 10_000)
        with (
            open(tmp_path / "source", "rb", buffering=0) as source,
            open(os.devnull, "wb", buffering=0) as target,
            pytest.raises(UserError, match="source: ends before byte 10,300"),
        ):
            copy_range(source, target, 300, 10_000)
        monkeypatch.setattr(os, "copy_file_range", refuse)
        monkeypatch.setattr(splicing, "_COPIED", 333)
    assert (tmp_path / "kernel").read_bytes() == (tmp_path / "plain").read_bytes() == b"before" + (bytes(range(256)) * 40)[7:10_007]


def test_a_file_that_no_sequence_holds(tmp_path: Path) -> None:
    (tmp_path / "source").touch()
    with (
        open(tmp_path / "source", "rb", buffering=0) as source,
        pytest.raises(UserError, match=r"repository1 path1: 2,147,483,647 tokens, a sequence holds"),
        Splicer(tmp_path / "a", SEPARATION, np.dtype(np.uint16), 2, {}) as splicer,
    ):
        splicer.add(source, stretch([1, 2**31 - 1], [0, 1], [ALONE, NOTHING]))
    assert not (tmp_path / "a.idx").exists()


def test_wide_tokens(grouped_shards: Path, code_tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Tokens("", 5_000)
    tokenize_shards(shards_in(grouped_shards), code_tokenizer, tmp_path / "narrow", tokens=settings)
    monkeypatch.setattr(preprocess, "token_dtype", lambda _: np.dtype(np.int32))
    tokenize_shards(shards_in(grouped_shards), code_tokenizer, tmp_path / "wide", tokens=settings)
    for language in ("C", "Python"):
        narrow, wide = (IndexedDataset(tmp_path / name / language) for name in ("narrow", "wide"))
        assert (narrow.dtype, wide.dtype) == (np.uint16, np.int32)
        assert np.array_equal(narrow.tokens, wide.tokens)
        assert np.array_equal(narrow.sequence_lengths, wide.sequence_lengths)
        assert Lineage(tmp_path / "wide" / language).at(9_999) == Lineage(tmp_path / "narrow" / language).at(9_999)


def test_a_folder_of_others_is_refused_before_any_work(grouped_shards: Path, code_tokenizer: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs.bin").touch()
    with pytest.raises(UserError, match=r"holds theirs\.bin, which no stage wrote"):
        tokenize_shards(shards_in(grouped_shards), code_tokenizer, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.bin"]


def test_explain_writes_nothing(grouped_shards: Path, code_tokenizer: Path, tmp_path: Path) -> None:
    with pytest.raises(WouldRun, match="Python: was never finished here"):
        tokenize_shards(shards_in(grouped_shards), code_tokenizer, tmp_path / "tokens", Execution(explain=True))
    assert not (tmp_path / "tokens").exists()
