"""csrc/data/bpe.cpp beside SentencePiece: made models, real text, texts that break encoders."""

from __future__ import annotations

import base64
import random
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2 as proto

from megatron_snow.common.errors import UserError
from megatron_snow.tokenizers import Tokenizer, load_tokenizer, train_sentencepiece
from megatron_snow.tokenizers.engines import bpe, choose_engine
from megatron_snow.tokenizers.engines.parity import first_difference, probes
from megatron_snow.tokenizers.engines.sentencepiece_model import read_model

NORMAL, CONTROL, USER, UNUSED, BYTE = 1, 3, 4, 5, 6
CODE = [path.read_text(encoding="utf-8") for path in sorted(Path(random.__file__).parent.glob("*.py"))][:120]


def made_model(path: Path, pieces: list[tuple[str, float, int]], dummy_prefix: bool = False, byte_fallback: bool = True) -> Path:
    """A BPE model of these pieces, after <unk>, </s> and the 256 bytes."""
    model = proto.ModelProto()
    model.pieces.add(piece="<unk>", score=0, type=2)
    model.pieces.add(piece="</s>", score=0, type=CONTROL)
    for byte in range(256 * byte_fallback):
        model.pieces.add(piece=f"<0x{byte:02X}>", score=0, type=BYTE)
    for piece, score, kind in pieces:
        model.pieces.add(piece=piece, score=score, type=kind)
    model.trainer_spec.model_type, model.trainer_spec.byte_fallback = 2, byte_fallback
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix, model.normalizer_spec.remove_extra_whitespaces = dummy_prefix, False
    path.write_bytes(model.SerializeToString())
    return path


def agrees(tokenizer: Tokenizer, texts: list[str]) -> None:
    """The C code and the library give the same ids for each text."""
    different = first_difference(tokenizer, bpe.encoder_of(tokenizer), texts)
    assert different is None, texts[different or 0][:200]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("model") / "tokenizer.model"
    train_sentencepiece(CODE[::2], 3000, path)
    return load_tokenizer(path)


def test_the_standard_library(trained: Tokenizer) -> None:
    agrees(trained, CODE)


def test_texts_that_tell_encoders_apart(trained: Tokenizer) -> None:
    agrees(trained, probes(trained))


@settings(max_examples=300, deadline=None)
@given(texts=st.lists(st.text(st.characters(exclude_categories=("Cs",)) | st.sampled_from("ab \t\n\u2581=0"), max_size=80), max_size=5))
def test_any_text(trained: Tokenizer, texts: list[str]) -> None:
    agrees(trained, texts)


def test_chunks_longer_than_the_cache_holds(trained: Tokenizer) -> None:
    agrees(trained, [base64.b64encode(random.Random(0).randbytes(60_000)).decode(), "a" * 70_000, "ab\t" * 20_000, "\t" * 1001, "é" * 5000])


def test_more_chunks_than_the_cache_has_places(trained: Tokenizer) -> None:
    generator = random.Random(1)
    words = ["".join(generator.choices("etaoin_", k=generator.randint(1, 12))) for _ in range(150_000)]
    agrees(trained, [" ".join(words), " ".join(reversed(words))])


def test_a_text_at_the_end_of_the_buffer(trained: Tokenizer) -> None:
    for size in range(40):  # fewer readable bytes than a key has
        agrees(trained, ["x" * size])


def test_no_texts(trained: Tokenizer) -> None:
    ids, ends = bpe.encoder_of(trained)([])
    assert len(ids) == len(ends) == 0


def test_random_models(tmp_path: Path) -> None:
    """Vocabularies no trainer makes: equal scores, blanks inside pieces, characters that are no piece, overlapping user pieces."""
    generator = random.Random(2)
    alphabet = "ab\u2581\t\né中\U0001f600x"
    for number in range(150):
        known = generator.sample(alphabet, generator.randint(3, len(alphabet)))  # the others are no pieces of their own
        made = {"".join(generator.choices(alphabet, k=generator.randint(2, 5))) for _ in range(60)}
        user = {"".join(generator.choices(alphabet, k=generator.randint(1, 3))) for _ in range(generator.choice([0, 0, 3]))}
        pieces = [(piece, 0.0, USER) for piece in sorted(user)]
        pieces += [(piece, -float(generator.randint(0, 20)), NORMAL) for piece in sorted({"\u2581", *known, *made} - user)]
        tokenizer = load_tokenizer(made_model(tmp_path / f"{number}.model", pieces, dummy_prefix=number % 3 == 0), engine="reference")
        letters = alphabet.replace("\u2581", "  ") + "\u2581é"
        agrees(
            tokenizer, ["".join(generator.choices(letters, k=length)) for length in (1, 2, 3, 5, 8, 13, 40, 70, 90, 200) for _ in range(5)]
        )


def test_where_a_heap_takes_over(tmp_path: Path) -> None:
    """Around 64 characters without a cut two ways of merging meet; equal scores are merged from the left by both."""
    pieces = [*LETTERS, *((piece, -1.0, NORMAL) for piece in ("aa", "ab", "ba", "aab", "abab"))]
    tokenizer = load_tokenizer(made_model(tmp_path / "a.model", pieces), engine="reference")
    generator = random.Random(3)
    agrees(tokenizer, ["".join(generator.choices("ab", k=length)) for length in range(55, 75) for _ in range(20)])


LETTERS = [(letter, -1.0, NORMAL) for letter in "abc\u2581"]


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ([*LETTERS, ("ab", -1.0, UNUSED)], "unused pieces"),
        ([*LETTERS, ("ab", float("nan"), NORMAL)], "no scores"),
        ([*LETTERS, ("a b", -1.0, NORMAL)], "writes one in another way"),
        (LETTERS[:3], "no piece for a space"),
    ],
)
def test_models_that_the_library_is_left_to(tmp_path: Path, pieces: list[tuple[str, float, int]], reason: str) -> None:
    tokenizer = load_tokenizer(made_model(tmp_path / "a.model", pieces), engine="reference")
    choose_engine(tokenizer)
    assert tokenizer.engine == "reference"
    assert reason in tokenizer.engine_reason
    with pytest.raises(UserError, match=reason):
        choose_engine(tokenizer, "bpe")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"model_type": "unigram", "byte_fallback": True, "normalization_rule_name": "identity"}, "not BPE"),
        ({"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "nmt_nfkc"}, "normalises text"),
        ({"model_type": "bpe", "byte_fallback": False, "normalization_rule_name": "identity"}, "does not fall back to bytes"),
    ],
)
def test_models_of_other_kinds(tmp_path: Path, options: dict[str, object], reason: str) -> None:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CODE[0].splitlines()), model_prefix=str(tmp_path / "a"), vocab_size=500, minloglevel=2,
        remove_extra_whitespaces=False, hard_vocab_limit=False, **options,
    )  # fmt: skip
    tokenizer = load_tokenizer(tmp_path / "a.model", engine="reference")
    choose_engine(tokenizer)
    assert reason in tokenizer.engine_reason


def test_the_model_is_read_as_protobuf_reads_it(trained: Tokenizer) -> None:
    ours, theirs = read_model(trained.path.read_bytes()), proto.ModelProto.FromString(trained.path.read_bytes())
    assert ours.pieces == [piece.piece.encode() for piece in theirs.pieces]
    assert ours.kinds == [piece.type for piece in theirs.pieces]
    assert np.array_equal(ours.scores, [piece.score for piece in theirs.pieces])
    assert ours.model_type == theirs.trainer_spec.model_type
    assert (ours.byte_fallback, ours.removes_extra_blanks, ours.escapes_blanks) == (True, False, True)
