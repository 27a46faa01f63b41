"""Texts given by path: which bytes a domain's sequences are of, whatever the tokenizer, and what is refused."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import megatron_snow
from megatron_snow.cli.main import run_verb
from megatron_snow.common.errors import UserError
from megatron_snow.tokenizers import Tokenizer, load_tokenizer
from megatron_snow.training.domains import domain_files, text_rows

ROOT = Path(megatron_snow.__file__).parent.parent  # its documents are the prose of these tests
LENGTH = 64


@pytest.fixture(scope="module", params=["code_tokenizer", "byte_level_code_tokenizer"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return load_tokenizer(request.getfixturevalue(request.param))


def texts(rows, tokenizer: Tokenizer) -> list[str]:  # type: ignore[no-untyped-def]
    """What the targets of each row spell."""
    return [tokenizer.decode(row[1:][mask].tolist()) for row, mask in zip(rows.tokens, rows.mask)]


def test_sequences_begin_at_the_same_bytes_for_every_tokenizer(tokenizer: Tokenizer) -> None:
    path = ROOT / "docs" / "architecture.md"
    content = path.read_bytes()
    rows = text_rows("prose", [path], tokenizer, 8, LENGTH)
    assert rows.tokens.shape == (8, LENGTH + 1)
    assert (rows.tokens[:, 0] == tokenizer.eod).all()
    for number, text in enumerate(texts(rows, tokenizer)):
        first = number * len(content) // 8
        assert content[first:].decode("utf-8", "ignore").startswith(text.rstrip("\ufffd"))
    assert rows.mask.mean() > 0.9  # windows are long enough to fill their rows
    assert rows.kinds[0].places == (("text", "prose"),)
    assert rows.kinds[0].num_bytes == sum(len(tokenizer.decode_bytes(row[1:][mask])) for row, mask in zip(rows.tokens, rows.mask))


def test_short_text_is_one_padded_sequence_and_counts_every_byte(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_text("Grüße, naïve café: ∑ x² ≤ 1\n", encoding="utf-8")
    rows = text_rows("prose", [path], tokenizer, 8, LENGTH)
    assert texts(rows, tokenizer) == [path.read_text(encoding="utf-8")]
    assert rows.kinds[0].num_bytes == path.stat().st_size


def test_documents_of_a_window_are_told_apart_and_their_ends_are_no_targets(tokenizer: Tokenizer, tmp_path: Path) -> None:
    said = ["one two", "", "three", "four five six"]
    path = tmp_path / "lines.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in said), encoding="utf-8")
    rows = text_rows("prose", [path], tokenizer, 8, LENGTH)
    assert rows.tokens.shape == (1, LENGTH + 1)
    assert not (rows.tokens[0, 1:][rows.mask[0]] == tokenizer.eod).any()
    assert rows.documents is not None
    targets = rows.tokens[0, 1:]
    found = [tokenizer.decode(targets[rows.mask[0] & (rows.documents[0] == number)].tolist()) for number in (1, 2, 3)]
    assert found == ["one two", "three", "four five six"]
    assert rows.kinds[0].num_bytes == sum(map(len, said))


def test_every_form_of_a_file_gives_the_same_sequences(tokenizer: Tokenizer, tmp_path: Path) -> None:
    documents = sorted((ROOT / "docs").glob("*.md"))
    said = [path.read_text(encoding="utf-8") for path in documents]
    lines = "".join(json.dumps({"id": number, "text": text}) + "\n" for number, text in enumerate(said)).encode()
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "a.jsonl.zst").write_bytes(pa.compress(lines, "zstd", asbytes=True))
    pq.write_table(pa.table({"content": said}), tmp_path / "a.parquet", row_group_size=3)
    expected = text_rows("prose", domain_files("prose", str(ROOT / "docs" / "*.md")), tokenizer, 16, LENGTH)
    for name in ("a.jsonl.gz", "a.jsonl.zst", "a.parquet"):
        rows = text_rows("prose", domain_files("prose", str(tmp_path / name)), tokenizer, 16, LENGTH)
        np.testing.assert_array_equal(rows.tokens, expected.tokens)
        np.testing.assert_array_equal(rows.mask, expected.mask)
        assert rows.kinds == expected.kinds


def test_prose_collected_beside_a_corpus_is_a_domain(code_tokenizer: Path, tmp_path: Path) -> None:
    """As docs/domains.md says: what a corpus of code leaves out of its repositories."""
    shutil.copytree(ROOT / "docs", tmp_path / "repositories" / "megatron_snow" / "docs")
    options = ["--source", f"folder:{tmp_path / 'repositories'}", "--languages", "Markdown", "--output", str(tmp_path / "prose")]
    assert run_verb("collect_corpus", options) == 0
    files = domain_files("readme", str(tmp_path / "prose" / "*.parquet"))
    rows = text_rows("readme", files, load_tokenizer(code_tokenizer), 4, LENGTH)
    assert rows.tokens.shape == (4, LENGTH + 1)
    assert rows.kinds[0].num_bytes > 4 * LENGTH


def test_what_is_no_domain_is_named(code_tokenizer: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"evaluation\.domains\.prose: .*missing\.txt: no such file"):
        domain_files("prose", str(tmp_path / "missing.txt"))
    with pytest.raises(UserError, match="it is a folder: name its files"):
        domain_files("prose", str(tmp_path))
    pq.write_table(pa.table({"score": [1.0]}), tmp_path / "scores.parquet")
    with pytest.raises(UserError, match=r"scores\.parquet: no column of text .* it has score"):
        domain_files("prose", str(tmp_path / "*.parquet"))
    tokenizer = load_tokenizer(code_tokenizer)
    (tmp_path / "empty.txt").write_bytes(b"")
    with pytest.raises(UserError, match=r"domains\.prose: no text in .*empty\.txt"):
        text_rows("prose", [tmp_path / "empty.txt"], tokenizer, 4, LENGTH)
    (tmp_path / "latin.txt").write_bytes("Grüße".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.txt: not text in UTF-8 .* at byte 2"):
        text_rows("prose", [tmp_path / "latin.txt"], tokenizer, 4, LENGTH)
