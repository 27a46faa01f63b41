"""What is no tokenizer is refused by name, whatever is wrong with it."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.tokenizers import Tokenizer, load_tokenizer


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.model: no such tokenizer model; train one"):
        load_tokenizer(tmp_path / "none.model")


@pytest.mark.parametrize("content", [b"", b"import os\n", b"\x00" * 1000])
def test_a_file_that_is_no_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"tokenizer\.model: not a SentencePiece model"):
        load_tokenizer(path)


def test_a_model_cut_in_half(tmp_path: Path, code_tokenizer: Path) -> None:
    path = tmp_path / "tokenizer.model"
    whole = code_tokenizer.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"tokenizer\.model: "):
        load_tokenizer(path, 1024)


@pytest.mark.parametrize("kind", ["code_tokenizer", "byte_level_code_tokenizer"])
def test_another_vocabulary_size(kind: str, request: pytest.FixtureRequest) -> None:
    with pytest.raises(UserError, match=r"tokenizer\.(model|json): 1024 pieces, but tokenizer\.vocab_size is 8192; set it to 1024"):
        load_tokenizer(request.getfixturevalue(kind), 8192)


def test_a_model_under_another_name(tmp_path: Path, byte_level_code_tokenizer: Path) -> None:
    path = shutil.copyfile(byte_level_code_tokenizer, tmp_path / "tokenizer.model")
    assert load_tokenizer(path).encode("x") == load_tokenizer(byte_level_code_tokenizer).encode("x")


def _model(tree: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**tree, "model": {**tree["model"], **changes}}


def _huge_id(tree: dict[str, Any]) -> dict[str, Any]:
    return _model(tree, vocab={**tree["model"]["vocab"], "zzzz": 4_000_000_000})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda tree: [], r"not a tokenizer\.json"),
        (lambda tree: {}, r"not a tokenizer\.json"),
        (lambda tree: {"model": 5}, r"not a tokenizer\.json"),
        (lambda tree: {**_model(tree, vocab={}, merges=[]), "added_tokens": []}, r"not a tokenizer\.json .*no model with a vocab"),
        (lambda tree: _model(tree, type="WordPiece"), r"a WordPiece model; only BPE is read"),
        (lambda tree: _model(tree, type="Unigram", vocab=[["a", -1.0]]), r"a Unigram model; only BPE is read"),
        (lambda tree: {**tree, "pre_tokenizer": {"type": "Whitespace"}}, r"neither byte-level nor with byte fallback"),
        (lambda tree: {**tree, "pre_tokenizer": None}, r"neither byte-level nor with byte fallback"),
        (lambda tree: {**tree, "added_tokens": [5]}, r"added_tokens are not a list of tokens"),
        (lambda tree: _model(tree, vocab={"a": -1}), r"not read by Hugging Face's tokenizers"),
        (lambda tree: _model(tree, merges=[["zz", "q"]]), r"not read by Hugging Face's tokenizers"),
        (lambda tree: _model(tree, merges=[5]), r"not read by Hugging Face's tokenizers"),
        (_huge_id, r"an id of 4000000000 among 1025 pieces; the file is damaged"),
    ],
)
def test_a_tokenizer_json_that_is_none(
    damage: Callable[[dict[str, Any]], Any], message: str, tmp_path: Path, byte_level_code_tokenizer: Path
) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(damage(json.loads(byte_level_code_tokenizer.read_text(encoding="utf-8")))))
    with pytest.raises(UserError, match=rf"tokenizer\.json: .*{message}"):
        load_tokenizer(path)


def _refusal(path: Path) -> str:
    try:
        load_tokenizer(path, engine="reference").encode("x = 1")
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", ["code_tokenizer", "byte_level_code_tokenizer"])
def test_a_damaged_file_is_refused_or_read(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Bytes changed at random, or the end cut off: a UserError or a tokenizer, never another exception."""
    whole = request.getfixturevalue(kind).read_bytes()
    generator, path = random.Random(0), tmp_path / "tokenizer"
    refused = 0
    for number in range(200):
        data = bytearray(whole if number % 4 else whole[: generator.randrange(len(whole))])
        for place in generator.sample(range(len(data)), min(3, len(data))):
            data[place] = generator.randrange(256)
        path.write_bytes(data)
        message = _refusal(path)
        assert not message or message.startswith(f"{path}: ")
        refused += bool(message)
    assert refused > 100


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no tokenizer\.model, tokenizer\.json or vocab\.json with merges\.txt in this folder"):
        load_tokenizer(tmp_path)
    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(UserError, match=r"no merges\.txt beside vocab\.json in this folder"):
        load_tokenizer(tmp_path)


def _folder(tokenizer: Path, folder: Path, **config: Any) -> Path:
    """A tokenizer.json as GPT-2's two files."""
    model = json.loads(tokenizer.read_text(encoding="utf-8"))["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(merge) for merge in model["merges"]), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def test_a_folder_as_qwen2s_gives_the_same_ids(
    tmp_path: Path, byte_level_code_tokenizer: Path, code_documents: list[dict[str, Any]]
) -> None:
    """Ours cuts text as Qwen2 does; only that it makes no normal form."""
    ours = load_tokenizer(byte_level_code_tokenizer)
    folder = load_tokenizer(_folder(byte_level_code_tokenizer, tmp_path, tokenizer_class="Qwen2Tokenizer"))
    ascii_code = [document["content"] for document in code_documents if document["content"].isascii()][:50]
    assert [folder.encode(text) for text in ascii_code] == [ours.encode(text) for text in ascii_code]
    assert folder.eod == ours.eod  # by its name in the vocabulary, no file declares it
    assert not set(folder.encode("<|endoftext|>")) & set(folder.special_tokens)
    assert load_tokenizer(tmp_path / "vocab.json").digest == folder.digest


def test_a_folder_of_an_unknown_class(tmp_path: Path, byte_level_code_tokenizer: Path) -> None:
    folder = _folder(byte_level_code_tokenizer, tmp_path, tokenizer_class="BloomTokenizer")
    with pytest.raises(UserError, match=r"vocab\.json of a BloomTokenizer: .*stands in its tokenizer\.json only; put that file there"):
        load_tokenizer(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("vocab.json", "[]", r"vocab\.json: not a vocabulary"),
        ("vocab.json", '{"a": "b"}', r"vocab\.json: not a vocabulary"),
        ("vocab.json", "{", r"vocab\.json: not valid JSON"),
        ("merges.txt", "a b c\n", r"merges\.txt: 'a b c' is not a merge of two pieces"),
        ("tokenizer_config.json", "[]", r"tokenizer_config\.json: not a JSON object"),
        ("added_tokens.json", "5", r"added_tokens\.json: not a JSON object"),
        ("added_tokens.json", '{"x": "y"}', r"added_tokens\.json: 'y' is no id"),
        ("tokenizer_config.json", '{"added_tokens_decoder": {"x": {}}}', r"tokenizer_config\.json: added_tokens_decoder"),
    ],
)
def test_damaged_files_of_a_folder(name: str, content: str, message: str, tmp_path: Path, byte_level_code_tokenizer: Path) -> None:
    folder = _folder(byte_level_code_tokenizer, tmp_path)
    (folder / name).write_text(content)
    with pytest.raises(UserError, match=message):
        load_tokenizer(folder)


def test_a_vocabulary_without_end_of_document(tmp_path: Path, byte_level_code_tokenizer: Path) -> None:
    tree = json.loads(byte_level_code_tokenizer.read_text(encoding="utf-8"))
    tree["added_tokens"] = []
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(tree))
    tokenizer = load_tokenizer(path)
    with pytest.raises(UserError, match=r"tokenizer\.json: no token that ends a document \(<\|endoftext\|>, </s>"):
        _ = tokenizer.eod


def test_what_a_tokenizer_json_would_do_to_texts_is_not_done(tmp_path: Path, byte_level_code_tokenizer: Path) -> None:
    """Truncation, padding, dropout and templates that a file carries change no ids; a token like <tool_call> is none of text."""
    tree = json.loads(byte_level_code_tokenizer.read_text(encoding="utf-8"))
    tree["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    tree["padding"] = {"strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0}
    tree["padding"]["pad_token"] = "<|endoftext|>"
    tree["model"]["dropout"] = 0.5
    tree["post_processor"] = {"type": "TemplateProcessing", "pair": [], "special_tokens": {}}
    tree["post_processor"]["single"] = [{"Sequence": {"id": "A", "type_id": 0}}]
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    tree["added_tokens"].append({"id": 1024, "content": "<tool_call>", **plain})
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(tree))
    text = "def f(x):\n    return '<tool_call>'\n" * 20
    ours: Tokenizer = load_tokenizer(path)
    assert ours.encode(text) == load_tokenizer(byte_level_code_tokenizer).encode(text)
    assert ours.encode_batch([text])[0].tolist() == ours.encode(text)
    assert ours.id_of("<tool_call>") == 1024
