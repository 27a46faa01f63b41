"""The benchmark of tokenizing: both sides write the same bytes, and a difference is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import harness
from benchmarks.tokens import inputs, tokenize


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The benchmark's inputs from installed packages, small."""

    def texts(megabytes: int) -> list[str]:
        return list(inputs.installed_texts(megabytes))

    for module, name, value in (
        (inputs, "INPUTS", tmp_path / "inputs"),
        (inputs, "texts", texts),
        (inputs, "SENTENCEPIECE", "sentencepiece-2000"),
        (inputs, "BYTE_LEVEL", "byte-level-2000"),
        (harness, "RESULTS", tmp_path),
    ):
        monkeypatch.setattr(module, name, value)
    return tmp_path


@pytest.mark.slow
def test_both_sides_write_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["tokenize", "--megabytes", "1", "--times", "1", "--workers", "2"])
    tokenize.main()
    result = json.loads(next(folder.glob("tokenize-*.json")).read_text())
    assert result["command"].startswith("python -m benchmarks.tokens.tokenize")
    assert result["machine"]["packages"]["fastokens"]
    whats = [row["what"] for row in result["rows"]]
    assert whats == [
        f"{name}, 2 workers, {who}" for name in ("sentencepiece-2000", "byte-level-2000") for who in (tokenize.THEIRS, tokenize.OURS)
    ]
    assert all(row["identical"] and row["times_faster"] > 0 for row in result["rows"][1::2])


def test_a_difference_is_told(tmp_path: Path) -> None:
    for name, data in (("theirs", b"12"), ("ours", b"13")):
        for suffix in (".bin", ".idx"):
            (tmp_path / f"{name}_text_document{suffix}").write_bytes(data if suffix == ".bin" else b"")
    with pytest.raises(SystemExit, match=r"ours_text_document\.bin differ"):
        tokenize.check_same(tmp_path)


def test_documents_have_no_mark_for_a_space(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "texts", lambda megabytes: ["a \u2581 b", "c", ""])
    inputs.INPUTS.mkdir()
    lines = inputs.documents(1).read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["c", ""]


def test_installed_packages_are_enough_for_a_little(folder: Path) -> None:
    texts = list(inputs.installed_texts(2))
    assert 1_800_000 <= sum(len(text.encode()) for text in texts) <= 2_000_000
    assert texts == list(inputs.installed_texts(2))
