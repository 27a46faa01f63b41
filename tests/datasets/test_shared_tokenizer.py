"""A tokenizer's engine in the processes of one command, and what its mistakes are called."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.datasets import preprocess_texts, tokenize_shards, tokenize_texts
from megatron_snow.datasets.shared_tokenizer import SharedTokenizer, _loaded
from megatron_snow.pipeline import Execution
from megatron_snow.tokenizers import Tokenizer, load_tokenizer
from megatron_snow.tokenizers.engines import EngineError, choosing, parity
from megatron_snow.tokenizers.engines.parity import Checked, Encoder
from megatron_snow.tokenizers.tokenizer import Batch

WRONG = "this text is encoded wrongly"


@pytest.fixture
def mistaken(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine with a mistake that no probe shows, and each text is encoded twice."""

    def encoder_of(tokenizer: Tokenizer) -> Encoder:
        reference = load_tokenizer(tokenizer.path, engine="reference")

        def encode(texts: Sequence[str]) -> Batch:
            return reference.encode_batch([text.replace(WRONG, "") for text in texts])

        return encode

    monkeypatch.setattr(choosing, "ENGINES", {"bpe": encoder_of})
    monkeypatch.setattr(Checked.__init__, "__defaults__", (1,))


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The tokenizers whose engines were held against the reference."""
    seen: list[str] = []
    real: Callable[..., Any] = parity.first_difference
    monkeypatch.setattr(choosing, "first_difference", lambda tokenizer, *rest: seen.append(tokenizer.digest) or real(tokenizer, *rest))
    yield seen
    _loaded.clear()


def test_another_process_does_not_try_it_again(code_tokenizer: Path, tried: list[str]) -> None:
    shared = SharedTokenizer.of(load_tokenizer(code_tokenizer))
    assert len(tried) == 1
    again = pickle.loads(pickle.dumps(shared))
    _loaded.clear()  # as it is in a new process
    assert again.tokenizer.engine == shared.choice.engine == "bpe"
    assert again.tokenizer.engine_reason == shared.choice.reason
    assert again.tokenizer.encode_batch(["a b"])[0].tolist() == again.tokenizer.encode("a b")
    assert again.tokenizer is again.tokenizer
    assert len(tried) == 1


def test_it_goes_on_comparing(code_tokenizer: Path, mistaken: None) -> None:
    shared = SharedTokenizer.of(load_tokenizer(code_tokenizer))
    _loaded.clear()
    with pytest.raises(EngineError, match="engine bpe gives other ids") as error:
        shared.tokenizer.encode_batch(["x", WRONG])
    assert error.value.index == 1


def test_an_engine_of_another_version_is_tried(code_tokenizer: Path, tried: list[str]) -> None:
    tokenizer = SharedTokenizer.of(load_tokenizer(code_tokenizer))
    other = SharedTokenizer(tokenizer.model, tokenizer.choice._replace(version="of another machine", engine="fastokens"))
    assert other.tokenizer.engine == "bpe"
    assert len(tried) == 2


def test_a_model_that_changed(code_tokenizer: Path, byte_level_code_tokenizer: Path, tmp_path: Path) -> None:
    model = Path(shutil.copy(code_tokenizer, tmp_path / "tokenizer.model"))
    shared = SharedTokenizer.of(load_tokenizer(model))
    _loaded.clear()
    shutil.copy(byte_level_code_tokenizer, model)
    with pytest.raises(UserError, match=r"tokenizer\.model: changed while it was in use"):
        _ = shared.tokenizer


def test_an_error_passes_from_process_to_process() -> None:
    error = pickle.loads(pickle.dumps(EngineError("other ids", 7).within("a.jsonl: row 7")))
    assert (str(error), error.index) == ("a.jsonl: row 7: other ids", 7)


def test_a_mistake_names_the_line(code_tokenizer: Path, tmp_path: Path, mistaken: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("megatron_snow.datasets.text_columns._SMALLEST_PIECE", 5_000)
    monkeypatch.setattr("megatron_snow.datasets.text_columns._BATCH_BYTES", 1_000)
    lines = [json.dumps({"text": [f"number {number}", "x" * 90]}) + "\n" for number in range(200)]
    lines[150] = json.dumps({"text": ["before", WRONG]}) + "\n"
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    place = len("\n".join(lines[:150]).encode()) + 1
    with pytest.raises(EngineError, match=rf"a\.jsonl: the line at byte {place}: .*other ids than the reference"):
        tokenize_texts([tmp_path / "a.jsonl"], code_tokenizer, tmp_path / "x")


def test_a_mistake_names_the_row(code_tokenizer: Path, tmp_path: Path, mistaken: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("megatron_snow.datasets.text_columns._SMALLEST_PIECE", 1_000)
    texts = [f"number {number} " * 20 for number in range(100)]
    texts[71] = WRONG
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet", row_group_size=10)
    with pytest.raises(EngineError, match=r"a\.parquet: row 71: .*other ids than the reference"):
        tokenize_texts([tmp_path / "a.parquet"], code_tokenizer, tmp_path / "x")


def test_a_mistake_names_repository_and_path(grouped_shards: Path, code_tokenizer: Path, tmp_path: Path, mistaken: None) -> None:
    shard = tmp_path / "C-00000.parquet"
    table = pq.read_table(grouped_shards / shard.name)
    contents = table["content"].to_pylist()
    contents[3] = WRONG
    header = ["<repo_name>some/name<file_sep>a.c\n" if row % 2 else "b.c\n" for row in range(len(contents))]
    table = table.set_column(table.column_names.index("content"), "content", pa.array(contents)).append_column("header", pa.array(header))
    pq.write_table(table, shard)
    row = table.slice(3, 1).to_pylist()[0]
    with pytest.raises(EngineError, match="other ids than the reference") as error:
        tokenize_shards([shard], code_tokenizer, tmp_path / "tokens")
    assert str(error.value).startswith(f"{shard}: {row['repository']} {row['path']}: ")


def test_small_files_start_no_helpers(code_tokenizer: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n')
    tasks = preprocess_texts._tasks([tmp_path / "a.jsonl"])
    assert preprocess_texts._helpers(tasks, Execution("pool", 8)) == 0
