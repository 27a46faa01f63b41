"""What transformers reads gives our ids, for both kinds and for vocabularies of others."""

from __future__ import annotations

import io
import json
import random
import shutil
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from megatron_snow.common.errors import UserError
from megatron_snow.tokenizers import SPECIAL_TOKENS, Tokenizer, load_tokenizer, write_huggingface_tokenizer
from tests.tokenizers.vocabularies import BYTE_LEVEL

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module", params=["sentencepiece", "byte_level"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenizer, Path]:
    """A tokenizer and its folder as conversion leaves it: config.json of a Llama and the SentencePiece model lie beside."""
    path, folder = request.getfixturevalue("code_tokenizer"), tmp_path_factory.mktemp("huggingface")
    if request.param == "byte_level":
        path = request.getfixturevalue("byte_level_code_tokenizer")
    else:
        shutil.copyfile(path, folder / "tokenizer.model")
    write_huggingface_tokenizer(path, folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}))
    return load_tokenizer(path, engine="reference"), folder


def _texts() -> list[str]:
    stdlib = Path(sysconfig.get_path("stdlib"))
    files = [path for path in sorted(stdlib.rglob("*.py")) if "site-packages" not in path.parts and path.stat().st_size < 20_000][::3]
    code = [path.read_text(encoding="utf-8", errors="ignore") for path in files]
    generator = random.Random(0)
    letters = [*" \t\n\u2581=-a0\x00é漢😀", *map(chr, range(128))]
    noise = ["".join(generator.choices(letters, k=generator.randrange(120))) for _ in range(500)]
    runs = [" " * n + "\t" * n + "\n" * n + "=" * n + "ab" * n for n in range(70)]
    return [*code, *noise, *runs, *SPECIAL_TOKENS, "".join(SPECIAL_TOKENS)]


def test_identical_ids(exported: tuple[Tokenizer, Path]) -> None:
    ours, folder = exported
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    texts = _texts()
    assert len(texts) > 900
    different = [text for text in texts if theirs(text)["input_ids"] != ours.encode(text)]
    assert different == []
    assert all(theirs.decode(theirs(text)["input_ids"]) == text for text in texts)
    assert load_tokenizer(folder).encode(texts[0]) == ours.encode(texts[0])


def test_special_tokens(exported: tuple[Tokenizer, Path]) -> None:
    ours, folder = exported
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    assert len(theirs) == ours.vocab_size
    assert theirs.eos_token_id == ours.eod
    assert [theirs.convert_tokens_to_ids(piece) for piece in SPECIAL_TOKENS] == [ours.id_of(piece) for piece in SPECIAL_TOKENS]
    prompting = transformers.AutoTokenizer.from_pretrained(folder, split_special_tokens=False)
    assert prompting("<fim_prefix>x")["input_ids"][0] == ours.id_of("<fim_prefix>")


@pytest.mark.slow
@pytest.mark.parametrize("name", [*BYTE_LEVEL, "llama-2"])
def test_vocabularies_of_others(name: str, real_vocabulary: Callable[[str], Path], tmp_path: Path) -> None:
    path = real_vocabulary(name)
    write_huggingface_tokenizer(path, tmp_path)
    theirs, ours = transformers.AutoTokenizer.from_pretrained(tmp_path), load_tokenizer(path, engine="reference")
    texts = _texts()[::4]
    assert [text for text in texts if theirs(text)["input_ids"] != ours.encode(text)] == []
    assert (len(theirs), theirs.eos_token_id) == (ours.vocab_size, ours.eod)


def test_a_unigram_model_is_refused(code_documents: list[dict[str, Any]], tmp_path: Path) -> None:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line for document in code_documents[:60] for line in document["content"].splitlines()),
        model_writer=model,
        model_type="unigram",
        vocab_size=600,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    (tmp_path / "unigram.model").write_bytes(model.getvalue())
    with pytest.raises(UserError, match=r"unigram\.model: transformers would give other ids for .*copy the tokenizer files"):
        write_huggingface_tokenizer(tmp_path / "unigram.model", tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
