"""Which engine is chosen, why, and what happens where one gives other ids."""

from __future__ import annotations

import builtins
import random
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.tokenizers import Tokenizer, load_tokenizer, train_sentencepiece
from megatron_snow.tokenizers.engines import ENGINES, EngineError, bpe, choose_engine, choosing
from megatron_snow.tokenizers.engines.parity import SAMPLED, Checked, Encoder, probes
from megatron_snow.tokenizers.tokenizer import Batch

CODE = [path.read_text(encoding="utf-8") for path in sorted(Path(random.__file__).parent.glob("*.py"))][:60]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tokenizer.model"
    train_sentencepiece(CODE[::2], 2000, path)
    return path


@pytest.fixture
def tokenizer(model: Path) -> Tokenizer:
    return load_tokenizer(model, engine="reference")


def wrong_for(tokenizer: Tokenizer, sign: str) -> Encoder:
    """An encoder with a mistake: it leaves out the last id of a text with `sign`."""

    def encode(texts: Sequence[str]) -> Batch:
        arrays = [tokenizer.encode_array(text)[: -1 if sign in text else None] for text in texts]
        return np.concatenate(arrays), np.cumsum([len(ids) for ids in arrays])

    return encode


def test_auto_takes_our_own_for_sentencepiece(tokenizer: Tokenizer) -> None:
    choose_engine(tokenizer)
    assert tokenizer.engine == "bpe"
    assert "same ids as the reference" in tokenizer.engine_reason
    ids, ends = tokenizer.encode_batch(CODE)
    assert ids.dtype == np.int32
    assert ends.dtype == np.int64
    assert ids.tolist() == [token for text in CODE for token in tokenizer.encode(text)]
    assert ends[0] == len(tokenizer.encode(CODE[0]))


def test_the_reference_by_name(tokenizer: Tokenizer) -> None:
    choose_engine(tokenizer)
    choose_engine(tokenizer, "reference")
    assert tokenizer.engine == "reference"
    assert tokenizer.encode_batch(["a b"])[0].tolist() == tokenizer.encode("a b")


def test_an_engine_that_is_none(tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match=r"'fastoken' is none of auto, reference, bpe, fastokens; did you mean fastokens\?"):
        choose_engine(tokenizer, "fastoken")


def test_other_ids_lead_back_to_the_reference(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "ENGINES", {"bpe": lambda tokenizer: wrong_for(tokenizer, "\u3000")})
    choose_engine(tokenizer)
    assert tokenizer.engine == "reference"
    assert r"bpe: other ids than the reference for '\u3000'" in tokenizer.engine_reason
    with pytest.raises(UserError, match="ask for reference"):
        choose_engine(tokenizer, "bpe")


def test_samples_of_the_input_are_tried_too(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "ENGINES", {"bpe": lambda tokenizer: wrong_for(tokenizer, "a rare word")})
    choose_engine(tokenizer)
    assert tokenizer.engine == "bpe"
    choose_engine(tokenizer, samples=["here is a rare word"])
    assert tokenizer.engine == "reference"


def test_a_mistake_that_shows_later_is_an_error(tokenizer: Tokenizer) -> None:
    checked = Checked(tokenizer, "bpe", wrong_for(tokenizer, "wrong"), every=10)
    texts = ["right", *["wrong"] * 9, "right"]
    ids, ends = checked(texts)  # only the first and the eleventh are compared
    assert len(ends) == 11
    assert len(ids) == ends[-1]
    checked(["right"] * 8)
    with pytest.raises(EngineError, match="engine bpe gives other ids than the reference for the text 'wrong'; run again with") as error:
        checked(["right", "wrong"])
    assert error.value.index == 1


def test_one_text_in_so_many_is_encoded_twice(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    plain = tokenizer.encode_array
    checked = Checked(tokenizer, "bpe", bpe.encoder_of(tokenizer))
    monkeypatch.setattr(tokenizer, "encode_array", lambda text: seen.append(text) or plain(text))
    numbers = [str(number) for number in range(2 * SAMPLED + 1)]
    for start in range(0, len(numbers), 7):
        checked(numbers[start : start + 7])
    assert seen == ["0", str(SAMPLED), str(2 * SAMPLED)]


def test_a_very_long_text_is_not_encoded_twice(tokenizer: Tokenizer) -> None:
    checked = Checked(tokenizer, "bpe", wrong_for(tokenizer, "wrong"))
    checked(["wrong" + "a " * 200_000, "right"])
    with pytest.raises(EngineError):
        Checked(tokenizer, "bpe", wrong_for(tokenizer, "wrong"))(["a " * 200_000, "wrong"])


def test_half_a_surrogate_is_the_references_error(tokenizer: Tokenizer) -> None:
    choose_engine(tokenizer)
    with pytest.raises(UserError, match="surrogate pair at character 1 is no text"):
        tokenizer.encode_batch(["good", "a\ud800"])


def test_without_the_compiled_code(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpe, "load_native", lambda: (None, "csrc/data is not built: install g++"))
    choose_engine(tokenizer)
    assert tokenizer.engine == "reference"
    assert "bpe: csrc/data is not built: install g++" in tokenizer.engine_reason


def test_without_the_package(model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from megatron_snow.tokenizers import write_huggingface_tokenizer

    write_huggingface_tokenizer(model, tmp_path)
    tokenizer, real = load_tokenizer(tmp_path / "tokenizer.json", engine="reference"), builtins.__import__

    def missing(name: str, *rest: object, **options: object) -> object:
        if name == "fastokens":
            raise ModuleNotFoundError("No module named 'fastokens'")
        return real(name, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", missing)
    choose_engine(tokenizer)
    assert tokenizer.engine == "reference"
    assert "pip install 'megatron-snow[tokenizers-fast]'" in tokenizer.engine_reason


def test_threads_share_an_encoder(tokenizer: Tokenizer) -> None:
    choose_engine(tokenizer)
    expected, found = tokenizer.encode_batch(CODE)[0], []
    threads = [threading.Thread(target=lambda: found.append(tokenizer.encode_batch(CODE)[0])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(np.array_equal(ids, expected) for ids in found)


def test_probes_are_the_same_each_time(tokenizer: Tokenizer) -> None:
    texts = probes(tokenizer)
    assert texts == probes(tokenizer)
    for part in ("\u2581", "\r\n", "\t\t", "\x00", "<|endoftext|>", "\u200d", "e\u0301"):
        assert sum(part in text for text in texts) > 3
    assert any(len(text.split("\n")[0]) >= 5000 for text in texts)


def test_engines_in_the_order_in_which_they_are_tried() -> None:
    assert list(ENGINES) == ["bpe", "fastokens"]


def test_reading_a_model_chooses_no_engine_yet(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    real = bpe.encoder_of
    monkeypatch.setattr(choosing, "ENGINES", {"bpe": lambda tokenizer: made.append("bpe") or real(tokenizer)})
    tokenizer = load_tokenizer(model)
    assert tokenizer.decode(tokenizer.encode("a b")) == "a b"
    assert made == []
    tokenizer.encode_batch(["a", "b"])
    tokenizer.encode_batch(["a", "b"])
    assert (made, tokenizer.engine) == (["bpe"], "bpe")
    load_tokenizer(model, engine="bpe")  # one by name is tried at once
    assert made == ["bpe", "bpe"]
