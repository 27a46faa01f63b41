"""Writing: whole batches at once, index arrays that stay out of memory, datasets joined without a copy, killed at any step."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_snow.common.errors import UserError
from megatron_snow.datasets import IndexedDataset, IndexedWriter, join_datasets, writing

Documents = list[list[int]]


def write(prefix: Path, documents: Documents, dtype: str = "uint16") -> None:
    with IndexedWriter(prefix, dtype) as writer:
        for document in documents:
            writer.append(document)
            writer.end_document()


def files(prefix: Path) -> tuple[bytes, bytes]:
    return Path(f"{prefix}.bin").read_bytes(), Path(f"{prefix}.idx").read_bytes()


@settings(max_examples=40)
@given(
    documents=st.lists(st.lists(st.integers(0, 65_499), max_size=9), max_size=12),
    cut=st.integers(0, 12),
    dtype=st.sampled_from(["uint16", "int32"]),
)
def test_batches_give_the_bytes_of_single_documents(
    tmp_path_factory: pytest.TempPathFactory, documents: Documents, cut: int, dtype: str
) -> None:
    folder = tmp_path_factory.mktemp("batches")
    write(folder / "one", documents, dtype)
    with IndexedWriter(folder / "many", dtype) as writer:
        for batch in (documents[:cut], documents[cut:]):
            ids = np.array([token for document in batch for token in document], np.int32)
            writer.append_sequences(ids, np.array([len(document) for document in batch], np.int64))
    assert files(folder / "many") == files(folder / "one")


def test_documents_of_several_sequences(tmp_path: Path) -> None:
    with IndexedWriter(tmp_path / "x", "int32") as writer:
        writer.append_sequences(np.arange(5), np.array([2, 0, 3]), np.array([2, 0, 1]))
        writer.append_sequences(np.arange(1), np.array([1, 0]), np.array([2]))
    dataset = IndexedDataset(tmp_path / "x")
    assert dataset.sequence_lengths.tolist() == [2, 3, 1]
    assert dataset.document_indices.tolist() == [0, 1, 1, 2, 3]  # an empty sentence leaves nothing, an empty document a mark


def test_lengths_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    for ids, message in (([70_000], "do not fit uint16"), ([-1], "do not fit uint16")):
        with pytest.raises(UserError, match=message), IndexedWriter(tmp_path / "x", "uint16") as writer:
            writer.append_sequences(np.array(ids, np.int32), np.array([1]))
        assert not (tmp_path / "x.idx").exists()


@settings(max_examples=40, deadline=None)
@given(parts=st.lists(st.lists(st.lists(st.integers(0, 500), max_size=9), max_size=5), min_size=1, max_size=5), chunk=st.integers(1, 4))
def test_joined_parts_give_the_bytes_of_one_dataset(tmp_path_factory: pytest.TempPathFactory, parts: list[Documents], chunk: int) -> None:
    folder = tmp_path_factory.mktemp("join")
    write(folder / "whole", [document for part in parts for document in part])
    prefixes = [folder / f"part-{number}" for number in range(len(parts))]
    for prefix, documents in zip(prefixes, parts):
        write(prefix, documents)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "_CHUNK", chunk)  # several reads for each array
        join_datasets(prefixes, folder / "joined")
        join_datasets(prefixes, folder / "joined")  # nothing is left to do
    assert files(folder / "joined") == files(folder / "whole")
    assert {path.stem for path in folder.iterdir()} == {"whole", "joined"}


def test_a_join_goes_on_after_a_kill_at_any_step(tmp_path: Path) -> None:
    """The process is ended before its n-th call into the file system, for every n, and the same call made again."""
    documents = [[[number] * (number + 3), [], [9]] for number in range(3)]
    write(tmp_path / "whole", [document for part in documents for document in part])
    for step in range(100):
        folder = tmp_path / str(step)
        folder.mkdir()
        prefixes = [folder / f"part-{number}" for number in range(3)]
        for prefix, part in zip(prefixes, documents):
            write(prefix, part)
        ended = subprocess.run([sys.executable, "-c", _KILLED, str(folder), str(step)], check=False).returncode
        join_datasets(prefixes, folder / "joined")
        assert files(folder / "joined") == files(tmp_path / "whole")
        assert len(list(folder.iterdir())) == 2
        if ended == 0:
            assert step > 10
            return
        assert ended == 9
    raise AssertionError("the join never came to its end")


_KILLED = """
import os, sys
from pathlib import Path
from megatron_snow.datasets import join_datasets
folder, left = Path(sys.argv[1]), [int(sys.argv[2])]
def watch(event, _):
    if event in ("open", "os.rename", "os.remove", "os.truncate") or event.startswith("tempfile"):
        if left[0] == 0:
            os._exit(9)
        left[0] -= 1
sys.addaudithook(watch)
join_datasets([folder / f"part-{number}" for number in range(3)], folder / "joined")
"""


def test_without_help_of_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        write(tmp_path / f"part-{number}", [[number] * 5])

    def refuse(*_: object, **__: object) -> int:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    join_datasets([tmp_path / f"part-{number}" for number in range(3)], tmp_path / "joined")
    assert IndexedDataset(tmp_path / "joined").tokens.tolist() == [0] * 5 + [1] * 5 + [2] * 5


def test_parts_that_do_not_belong_together(tmp_path: Path) -> None:
    write(tmp_path / "a", [[1]])
    write(tmp_path / "b", [[2]], "int32")
    with pytest.raises(UserError, match=r"b\.idx: its tokens are int32, not uint16"):
        join_datasets([tmp_path / "a", tmp_path / "b"], tmp_path / "joined")
    assert not (tmp_path / "joined.idx").exists()


def test_memory_does_not_grow_with_the_documents(tmp_path: Path) -> None:
    """5 M documents are 60 MB of index arrays; a process that writes them may take 40 MB more than one that writes few."""
    peaks = [int(subprocess.check_output([sys.executable, "-c", _MANY, str(tmp_path), str(batches)])) for batches in (10, 500)]
    assert IndexedDataset(tmp_path / "joined").num_tokens == 2 * 500 * 10_000
    assert peaks[1] - peaks[0] < 40_000 * (1 if sys.platform == "linux" else 1024), resource.RUSAGE_SELF  # kB


_MANY = """
import resource, sys
from pathlib import Path
import numpy as np
from megatron_snow.datasets import IndexedWriter, join_datasets
folder = Path(sys.argv[1])
for part in ("a", "b"):
    with IndexedWriter(folder / part, np.uint16) as writer:
        for _ in range(int(sys.argv[2])):
            writer.append_sequences(np.ones(10_000, np.int32), np.ones(10_000, np.int64))
join_datasets([folder / "a", folder / "b"], folder / "joined")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
