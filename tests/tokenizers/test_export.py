"""What transformers reads gives the ids of the SentencePiece model."""

from __future__ import annotations

import json
import random
import shutil
import sysconfig
from pathlib import Path

import pytest

from megatron_snow.tokenizers import SPECIAL_TOKENS, load_tokenizer, write_huggingface_tokenizer

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(code_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As conversion leaves it: config.json of a Llama and the SentencePiece model lie beside."""
    folder = tmp_path_factory.mktemp("huggingface")
    write_huggingface_tokenizer(code_tokenizer, folder)
    shutil.copyfile(code_tokenizer, folder / "tokenizer.model")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}))
    return folder


def _texts() -> list[str]:
    stdlib = Path(sysconfig.get_path("stdlib"))
    files = [path for path in sorted(stdlib.rglob("*.py")) if "site-packages" not in path.parts and path.stat().st_size < 20_000][::3]
    code = [path.read_text(encoding="utf-8", errors="ignore") for path in files]
    generator = random.Random(0)
    letters = [*" \t\n\u2581=-a0\x00é漢😀", *map(chr, range(128))]
    noise = ["".join(generator.choices(letters, k=generator.randrange(120))) for _ in range(500)]
    runs = [" " * n + "\t" * n + "\n" * n + "=" * n + "ab" * n for n in range(70)]
    return [*code, *noise, *runs, *SPECIAL_TOKENS, "".join(SPECIAL_TOKENS)]


def test_identical_ids(folder: Path, code_tokenizer: Path) -> None:
    theirs, ours = transformers.AutoTokenizer.from_pretrained(folder), load_tokenizer(code_tokenizer)
    texts = _texts()
    assert len(texts) > 900
    different = [text for text in texts if theirs(text)["input_ids"] != ours.encode(text)]
    assert different == []
    assert all(theirs.decode(theirs(text)["input_ids"]) == text for text in texts)


def test_special_tokens(folder: Path, code_tokenizer: Path) -> None:
    theirs, ours = transformers.AutoTokenizer.from_pretrained(folder), load_tokenizer(code_tokenizer)
    assert len(theirs) == ours.vocab_size
    assert theirs.eos_token_id == ours.eod
    assert [theirs.convert_tokens_to_ids(piece) for piece in SPECIAL_TOKENS] == [ours.id_of(piece) for piece in SPECIAL_TOKENS]
    prompting = transformers.AutoTokenizer.from_pretrained(folder, split_special_tokens=False)
    assert prompting("<fim_prefix>x")["input_ids"][0] == ours.id_of("<fim_prefix>")
