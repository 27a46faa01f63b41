"""preprocess-data says which engine encodes, and takes one by name."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from megatron_snow.cli.main import main
from megatron_snow.tokenizers import train_sentencepiece

CODE = [path.read_text(encoding="utf-8") for path in sorted(Path(random.__file__).parent.glob("*.py"))][:20]


def options(folder: Path, *more: str) -> list[str]:
    if not (folder / "code.jsonl").exists():
        train_sentencepiece(CODE, 1000, folder / "tokenizer.model")
        (folder / "code.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in CODE))
    files = ["--input", str(folder / "code.jsonl"), "--tokenizer-model", str(folder / "tokenizer.model")]
    return ["preprocess-data", *files, "--workers", "1", *more]


def test_engines_write_the_same_bytes_and_say_which_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for engine, said in (("auto", "encoded by bpe: the same ids as the reference on"), ("reference", "encoded by reference: asked for")):
        assert main(options(tmp_path, "--tokenizer-engine", engine, "--output-prefix", str(tmp_path / engine))) == 0
        assert said in capsys.readouterr().out
    for suffix in (".bin", ".idx"):
        fast, plain = (tmp_path / f"{engine}_text_document{suffix}" for engine in ("auto", "reference"))
        assert fast.read_bytes() == plain.read_bytes()
        assert fast.stat().st_size > 0


def test_grouped_shards_by_any_engine(grouped_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grouped = ["--input", f"{grouped_shards}/*.parquet", "--group-by", "language,repository"]
    model = options(tmp_path)[3:5]
    for engine, said in (("bpe", "encoded by bpe: the same ids as the reference on"), ("reference", "encoded by reference: asked for")):
        output = ["--output-prefix", str(tmp_path / engine), "--tokenizer-engine", engine, "--workers", "2"]
        assert main(["preprocess-data", *grouped, *model, *output]) == 0
        assert said in capsys.readouterr().out
    for path in (tmp_path / "bpe").glob("*.bin"):
        assert path.read_bytes() == (tmp_path / "reference" / path.name).read_bytes()
        assert path.stat().st_size > 0


@pytest.mark.parametrize(
    ("engine", "message"),
    [("fastokens", "fastokens: not a tokenizer.json"), ("bqe", "'bqe' is none of auto, reference, bpe, fastokens; did you mean bpe?")],
)
def test_an_engine_that_cannot(tmp_path: Path, capsys: pytest.CaptureFixture[str], engine: str, message: str) -> None:
    assert main(options(tmp_path, "--tokenizer-engine", engine, "--output-prefix", str(tmp_path / "out"))) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("out*"))


def test_doctor_names_the_engines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "engine bpe" in said
    assert "fastokens" in said
