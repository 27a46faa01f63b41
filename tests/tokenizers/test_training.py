"""Training of both kinds: exact size, the same bytes again, what code needs is learnt, clear refusals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.tokenizers import SPECIAL_TOKENS, Tokenizer, load_tokenizer, train_byte_level, train_sentencepiece

Train = Callable[[Iterable[str], int, Path], None]
KINDS = pytest.mark.parametrize("train", [train_sentencepiece, train_byte_level])

# Trains both kinds on this package's own files and prints the digest of each.
_IN_A_PROCESS = """
import hashlib, sys
from pathlib import Path
import megatron_snow
from megatron_snow.tokenizers import train_byte_level, train_sentencepiece
texts = [path.read_text(encoding="utf-8") for path in sorted(Path(megatron_snow.__file__).parent.rglob("*.py"))]
for train in (train_sentencepiece, train_byte_level):
    train(texts, 900, Path(sys.argv[1]))
    print(hashlib.sha256(Path(sys.argv[1]).read_bytes()).hexdigest())
"""


@pytest.fixture(scope="module", params=["code_tokenizer", "byte_level_code_tokenizer"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return load_tokenizer(request.getfixturevalue(request.param))


@KINDS
def test_same_texts_same_bytes(train: Train, code_documents: list[dict[str, Any]], tmp_path: Path) -> None:
    texts = [document["content"] for document in code_documents[:60]]
    for name in ("first", "second"):
        train(texts, 700, tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    assert load_tokenizer(tmp_path / "first").vocab_size == 700


def test_same_bytes_in_other_processes_and_threads(tmp_path: Path) -> None:
    """Hash seeds differ between processes, and one trains on several threads."""
    digests = set()
    for number, threads in enumerate(("false", "true")):
        environment = {**os.environ, "TOKENIZERS_PARALLELISM": threads, "RAYON_NUM_THREADS": "4", "PYTHONHASHSEED": str(number)}
        command = [sys.executable, "-c", _IN_A_PROCESS, str(tmp_path / "model")]
        digests.add(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
    assert len(digests) == 1
    assert len(digests.pop().split()) == 2


def test_special_tokens_are_distinct_and_cannot_be_spelled(tokenizer: Tokenizer) -> None:
    ids = {tokenizer.id_of(piece) for piece in SPECIAL_TOKENS}
    assert len(ids) == len(SPECIAL_TOKENS)
    for piece in SPECIAL_TOKENS:
        spelled = tokenizer.encode(f"x = '{piece}'\n{piece}")
        assert not ids & set(spelled)
        assert tokenizer.decode(spelled) == f"x = '{piece}'\n{piece}"


def test_indentation_and_line_ends_are_pieces(tokenizer: Tokenizer) -> None:
    for text in (" " * 4, " " * 8, "\t", "\n\n"):
        assert len(tokenizer.encode(text)) == 1, repr(text)
    assert len(tokenizer.encode(":\n")) == 1
    assert len(tokenizer.encode("2024")) == 4  # digits are split
    assert len(tokenizer.encode("0x4F")) == 4


def test_byte_level_cuts_text_by_one_expression(byte_level_code_tokenizer: Path) -> None:
    """What the fast engines need; and every byte has an id of its own."""
    tree = json.loads(byte_level_code_tokenizer.read_text(encoding="utf-8"))
    kinds = [step["type"] for step in tree["pre_tokenizer"]["pretokenizers"]]
    assert kinds == ["Split", "ByteLevel"]
    assert tree["pre_tokenizer"]["pretokenizers"][1]["use_regex"] is False
    assert (tree["normalizer"], tree["post_processor"]) == (None, None)
    tokenizer = load_tokenizer(byte_level_code_tokenizer)
    assert [tokenizer.decode_bytes([token]) for token in tokenizer.byte_ids] == [bytes([byte]) for byte in range(256)]
    assert list(tokenizer.special_tokens) == list(range(len(SPECIAL_TOKENS)))


@KINDS
def test_long_lines_are_not_skipped(train: Train, tmp_path: Path) -> None:
    """SentencePiece drops what is over its limit in silence; one line of 60 kB is all there is here."""
    words = "alpha beta gamma delta epsilon omicron " * 1500
    size = 340 if train is train_sentencepiece else 294  # all that there is to learn
    train([words], size, tmp_path / "model")
    assert len(load_tokenizer(tmp_path / "model").encode(" omicron")) == 1


@KINDS
def test_too_little_text_is_refused(train: Train, tmp_path: Path) -> None:
    for texts in (["print('hello')\n"], []):
        with pytest.raises(UserError, match=r"vocab_size: 8192 pieces cannot be learnt from this text .*give more text or fewer pieces"):
            train(texts, 8192, tmp_path / "model")
    with pytest.raises(UserError, match=r"tokenizer\.vocab_size: 100 "):
        train(["print('hello')\n"], 100, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_memory_of_byte_level_does_not_grow_with_the_text(tmp_path: Path) -> None:
    """40 MB of the same words take no more than 4 MB. (SentencePiece holds its sample, which tokenizer.train_bytes bounds.)"""
    peaks = []
    for copies in (1, 10):
        script = (
            "import resource\nfrom pathlib import Path\nfrom megatron_snow.tokenizers import train_byte_level\n"
            f"texts = (f'value_{{i % 5000}} = call({{i % 5000}})\\n' * 40 for i in range({copies} * 4000))\n"
            f"train_byte_level(texts, 272, Path({str(tmp_path / 'model')!r}))\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        output = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
        peaks.append(int(output) * 1024)
    assert peaks[1] - peaks[0] < 12_000_000
