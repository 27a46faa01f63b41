"""tokenizer-report over shards and JSONL, with several tokenizers side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from megatron_snow.cli.main import main
from megatron_snow.common.errors import UserError
from megatron_snow.datasets import compare_tokenizers
from megatron_snow.pipeline import shards_in
from megatron_snow.tokenizers import load_tokenizer


def test_shards(grouped_shards: Path, code_documents: list[dict[str, Any]], code_tokenizer: Path, byte_level_code_tokenizer: Path) -> None:
    tokenizers = [load_tokenizer(code_tokenizer), load_tokenizer(byte_level_code_tokenizer)]
    for tokenizer, report in zip(tokenizers, compare_tokenizers(shards_in(grouped_shards), tokenizers)):
        for language in ("Python", "C"):
            texts = [document["content"] for document in code_documents if document["language"] == language]
            figures = report["languages"][language]
            assert (figures["documents"], figures["bytes"]) == (len(texts), sum(len(text.encode()) for text in texts))
            assert figures["tokens"] == sum(len(tokenizer.encode(text)) for text in texts)
        assert set(report["languages"]) == {"Python", "C"}


def test_a_part_of_each_language(grouped_shards: Path, code_tokenizer: Path) -> None:
    (report,) = compare_tokenizers(shards_in(grouped_shards), [load_tokenizer(code_tokenizer)], language_bytes=20_000)
    (whole,) = compare_tokenizers(shards_in(grouped_shards), [load_tokenizer(code_tokenizer)])
    for language, figures in report["languages"].items():
        assert 20_000 <= figures["bytes"] < whole["languages"][language]["bytes"]


def test_the_verb(
    code_documents: list[dict[str, Any]],
    code_tokenizer: Path,
    byte_level_code_tokenizer: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, output = tmp_path / "code.jsonl", tmp_path / "report.json"
    path.write_text("".join(json.dumps({"text": row["content"], "language": row["language"]}) + "\n" for row in code_documents[:50]))
    arguments = ["--input", str(path), "--tokenizer", str(code_tokenizer), str(byte_level_code_tokenizer.parent)]
    assert main(["tokenizer-report", *arguments, "--output", str(output)]) == 0
    reports = json.loads(output.read_text())["tokenizers"]
    assert [report["vocab_size"] for report in reports] == [1024, 1024]
    printed = capsys.readouterr().out
    for report in reports:
        assert f"{report['all']['bytes_per_token']:.3f}" in printed
    assert printed.count("gives back any bytes") == 2
    assert main(["tokenizer-report", *arguments[:-1], str(tmp_path), "--output", str(output)]) == 2
    assert "no tokenizer.model, tokenizer.json or vocab.json" in capsys.readouterr().err


def test_no_text(tmp_path: Path, code_tokenizer: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(UserError, match=r"empty\.jsonl: no text to compare tokenizers on"):
        compare_tokenizers([tmp_path / "empty.jsonl"], [load_tokenizer(code_tokenizer)])
