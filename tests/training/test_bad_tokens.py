"""Tokens that are damaged, of another tokenizer, or too few: one message with the file before step 1, through the verb itself."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from megatron_snow.cli.main import run_verb
from megatron_snow.common.errors import UserError
from megatron_snow.config import load_recipe
from megatron_snow.datasets import IndexedWriter
from megatron_snow.datasets.seals import seal
from megatron_snow.training import Plan
from megatron_snow.training.data import BatchReader


@pytest.fixture
def run(make_tiny_run: Callable, tmp_path: Path):  # type: ignore[no-untyped-def, type-arg]
    return make_tiny_run(tmp_path)


def write(prefix: Path, documents: list[np.ndarray], dtype: str = "uint16") -> None:
    with IndexedWriter(prefix, dtype) as writer:
        for document in documents:
            writer.append(document)
            writer.end_document()


def overwrite(path: Path, offset: int, data: bytes) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:offset] + data + whole[offset + len(data) :])


# How the tokens of `general` are harmed, and what is said. The tiny run's tokenizer has 1,024 pieces, its files are uint16.
BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "lengths": (lambda folder: overwrite(folder / "C.idx", 34, struct.pack("<i", 7)), "C.idx: sequence 1 starts at byte "),
    "negative length": (lambda folder: overwrite(folder / "C.idx", 34, struct.pack("<i", -7)), "C.idx: sequence 0 has the length -7"),
    "cut .bin": (lambda folder: (folder / "C.bin").write_bytes((folder / "C.bin").read_bytes()[:-2]), "the .bin has "),
    "magic": (lambda folder: overwrite(folder / "Python.idx", 0, b"NOTMEGA"), "Python.idx: not an index of Megatron"),
    "no .bin": (lambda folder: (folder / "Python.bin").unlink(), "Python.bin: no such file"),
    "small dtype": (lambda folder: write(folder / "Go", [np.arange(200)], "uint8"), "uint8 hold no id over 255, tokenizer.vocab_size is"),
    "token": (lambda folder: write(folder / "Go", [np.full(600, 1024)]), "Go.bin: token 1024 at 0 is not one of 0 to 1023"),
    "negative token": (lambda folder: write(folder / "Go", [np.full(600, -5)], "int32"), "Go.bin: token -5 at 0 is not one of"),
    "floats": (lambda folder: overwrite(folder / "C.idx", 17, b"\x06"), "C.idx: its tokens are float64"),
    "images": (lambda folder: (folder / "C.idx").write_bytes((folder / "C.idx").read_bytes() + bytes(20)), "C.idx: a multimodal index"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_tokens_are_refused_before_training(run, capsys: pytest.CaptureFixture[str], name: str) -> None:  # type: ignore[no-untyped-def]
    harm, message = BAD[name]
    harm(run.workspace.tokens("general"))
    assert message in _refused(run, capsys)


def test_what_no_structure_shows_is_shown_by_a_seal(run, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    """Another file of as many tokens under the same name: only its .idx tells, and only from the one that was sealed."""
    prefix = run.workspace.tokens("general") / "C"
    seal(prefix)
    assert run_verb("pretrain", ["--recipe", str(run.recipe), "--check"]) == 0
    capsys.readouterr()
    count = prefix.with_name("C.bin").stat().st_size // 2
    write(prefix, [np.full(count - 1, 5), np.array([6])])
    assert f"{prefix}.idx: " in (message := _refused(run, capsys))
    assert "when it was sealed; take the dataset from another copy or make it again" in message


def test_a_blend_with_a_source_that_is_missing_or_too_short(run, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    assert "genral: dataset 'genral' is missing" in _refused(run, capsys, "--set", "phases.first.data=[{dataset: genral}]")
    folder = run.workspace.tokens("short")
    folder.mkdir()
    write(folder / "C", [np.arange(10)])
    message = _refused(run, capsys, "--set", "phases.first.data=[{dataset: short}]")
    assert "phases.first.data: no source has the " in message
    assert "give more data or lower seq_length" in message


def test_empty_and_huge_documents_are_read(run) -> None:  # type: ignore[no-untyped-def]
    """An empty document is a mark and nothing to train on; one of 100 MB is as good as any."""
    document = np.random.default_rng(0).integers(0, 1024, 50_000_000).astype(np.uint16)
    write(run.workspace.tokens("general") / "Go", [np.zeros(0, np.uint16), document, np.zeros(0, np.uint16)])
    assert run_verb("pretrain", ["--recipe", str(run.recipe), "--check"]) == 0


def test_training_looks_at_every_token_that_it_reads(run) -> None:  # type: ignore[no-untyped-def]
    """Before step 1 only some blocks of a large file are looked at."""
    for file in run.workspace.tokens("general").glob("Python.*"):
        file.unlink()
    write(run.workspace.tokens("general") / "C", [np.where(np.arange(3000) % 500 == 499, 1024, 5)])
    recipe = load_recipe(str(run.recipe), [])
    with pytest.raises(UserError, match=r"general/C\.bin: token 1024 is not one of 0 to 1023, tokenizer\.vocab_size; .* another tokenizer"):
        for step in range(1, 4):
            BatchReader(recipe, run.workspace).read(Plan(recipe).step(step), 0, 1)


def _refused(run, capsys: pytest.CaptureFixture[str], *options: str) -> str:  # type: ignore[no-untyped-def]
    assert run_verb("pretrain", ["--recipe", str(run.recipe), "--check", *options]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("error: ") == 1
    assert "Traceback" not in captured.err
    return captured.err
