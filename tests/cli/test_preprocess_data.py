"""preprocess-data as a Megatron-LM user calls it: each flag does what it does there, or is refused with what to do instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megatron_snow.cli.main import run_verb
from megatron_snow.datasets import IndexedDataset
from megatron_snow.tokenizers import load_tokenizer

# As in the examples of Megatron-LM's documentation; flags that only matter with others may stand there too.
TYPICAL = [
    "--tokenizer-type", "GPTSentencePieceTokenizer", "--append-eod", "--keep-newlines", "--lang", "english", "--vocab-size", "50304",
    "--log-interval", "100", "--partitions", "2", "--keep-sequential-samples", "--workers", "2",
]  # fmt: skip


@pytest.fixture
def source(code_documents: list[dict[str, Any]], tmp_path: Path) -> Path:
    path = tmp_path / "code.jsonl"
    path.write_text("".join(json.dumps({"text": document["content"]}) + "\n" for document in code_documents[:20]))
    return path


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level tokenizer.json, and the same as GPT-2's two files under names of their own."""
    from tokenizers import ByteLevelBPETokenizer

    folder = tmp_path_factory.mktemp("byte_level")
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator([Path(__file__).read_text()], vocab_size=400, special_tokens=["<|endoftext|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    tokenizer.save_model(str(folder), "gpt2")
    return folder


def _run(source: Path, prefix: Path, *flags: str | Path) -> int:
    return run_verb("preprocess_data", ["--input", str(source), "--output-prefix", str(prefix), *map(str, flags)])


def test_a_typical_command(source: Path, code_tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(source, tmp_path / "x", "--tokenizer-model", code_tokenizer, *TYPICAL) == 0
    assert "20 documents" in capsys.readouterr().out
    dataset, tokenizer = IndexedDataset(tmp_path / "x_text_document"), load_tokenizer(code_tokenizer)
    texts = [json.loads(line)["text"] for line in source.read_text().splitlines()]
    assert [dataset[i].tolist() for i in range(len(dataset))] == [[*tokenizer.encode(text), tokenizer.eod] for text in texts if text]


def test_byte_level_vocabularies(source: Path, byte_level: Path, tmp_path: Path) -> None:
    files = ["--vocab-file", byte_level / "gpt2-vocab.json", "--merge-file", byte_level / "gpt2-merges.txt"]
    assert _run(source, tmp_path / "files", "--tokenizer-type", "GPT2BPETokenizer", *files, "--append-eod") == 0
    model = byte_level / "tokenizer.json"
    assert _run(source, tmp_path / "json", "--tokenizer-type", "HuggingFaceTokenizer", "--tokenizer-model", model, "--append-eod") == 0
    datasets = [IndexedDataset(tmp_path / f"{name}_text_document") for name in ("files", "json")]
    assert len(datasets[0]) > 10
    assert np.array_equal(datasets[0].tokens, datasets[1].tokens)
    assert not list(tmp_path.glob(".files*"))  # the copies of the two files


def test_explain_runs_nothing(source: Path, code_tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--tokenizer-model", str(code_tokenizer)]
    assert _run(source, tmp_path / "x", *flags, "--explain") == 0
    assert "would run" in capsys.readouterr().out
    assert not list(tmp_path.glob("x*"))
    assert _run(source, tmp_path / "x", *flags) == 0
    capsys.readouterr()
    assert _run(source, tmp_path / "x", *flags, "--explain") == 0
    assert "would run" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--split-sentences"], "--split-sentences: not offered; sentences are not told apart here; give a list"),
        (["--find-optimal-num-workers"], "--find-optimal-num-workers: not offered; give --workers the number of cores"),
        (["--special-tokens", "<a>", "<b>"], "--special-tokens: not offered"),
        (["--legacy-tokenizer"], "--legacy-tokenizer: not offered"),
        (["--trust-remote-code"], "--trust-remote-code: not offered; no code of a tokenizer's folder is run; give its tokenizer.json"),
        (["--tokenizer-type", "BertWordPieceCase"], "--tokenizer-type BertWordPieceCase: not offered; WordPiece drops blanks"),
        (["--tokenizer-type", "TikTokenizer"], "--tokenizer-type TikTokenizer: not offered; give the same vocabulary as tokenizer.json"),
        (["--tokenizer-type", "HuggingFaceTokenizer", "--tokenizer-model", "gpt2"], "gpt2: no such file or folder; nothing is downloaded"),
        (["--tokenizer-type", "GPT2BPETokenizer", "--vocab-file", __file__], "--merge-file : missing; GPT2BPETokenizer needs it"),
        (["--tokenizer-type", "GPT2BPETokenizer", "--vocab-file", "none"], "--vocab-file none: no such file"),
        (["--tokenizer-type", "Llama2Tokenizer", "--tokenizer-model", "x.json"], "x.json: not a SentencePiece model"),
        (["--partitions", "0"], "--partitions 0: must be at least 1"),
        (["--log-interval", "0"], "--log-interval 0: must be at least 1"),
        (["--workers", "0"], "--workers 0: must be at least 1"),
    ],
)  # fmt: skip
def test_refused(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str) -> None:
    assert _run(source, tmp_path / "x", *flags) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("x*"))


def test_tokens_around_every_text(source: Path, byte_level: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Megatron-LM would write them; they are never left out without a word."""
    tree = json.loads((byte_level / "tokenizer.json").read_text())
    begin = {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}
    single = [begin, {"Sequence": {"id": "A", "type_id": 0}}]
    template = {
        "type": "TemplateProcessing", "single": single, "pair": single,
        "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}},
    }  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps(tree | {"post_processor": {"type": "Sequence", "processors": [template]}}))
    flags = ["--tokenizer-type", "HuggingFaceTokenizer", "--tokenizer-model", tmp_path / "tokenizer.json"]
    assert _run(source, tmp_path / "x", *flags) == 2
    assert "puts special tokens around every text" in capsys.readouterr().err
    assert _run(source, tmp_path / "x", *flags, "--tokenizer-hf-no-include-special-tokens") == 0
    assert 0 not in IndexedDataset(tmp_path / "x_text_document").tokens
