"""tokenizer.json, and folders with vocab.json and merges.txt, as the tree that Hugging Face's tokenizers reads."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from megatron_snow.common.errors import UserError
from megatron_snow.tokenizers.tokenizer import ALIASES

# Qwen2's: contractions, words with one sign or blank before them, single digits, signs, line ends, blanks. One expression without a
# stage for digits before it: the only form that every fast engine reads.
CODE_SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

# An added token of this form is none of text, whatever its file says: Qwen2.5-Coder's <|fim_prefix|> is not marked as special.
_SPECIAL_NAME = re.compile(r"▁?<\S+>|\[[A-Z_]+\]")

_GPT2_CLASSES = ("GPT2Tokenizer", "GPT2TokenizerFast", "CodeGenTokenizer", "CodeGenTokenizerFast")
_QWEN2_CLASSES = ("Qwen2Tokenizer", "Qwen2TokenizerFast")


def split_and_bytes(pattern: str) -> dict[str, Any]:
    """A pre-tokenizer: text is cut by `pattern`, then spelled in the 256 characters of the byte-level alphabet."""
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, _byte_level(use_regex=False)]}


def read_tree(path: Path) -> dict[str, Any]:
    """The tree of a tokenizer.json or a folder; UserError where it is missing, damaged or no BPE."""
    tree = _read_json(path) if path.is_file() else _folder_tree(path)
    model = tree.get("model") if isinstance(tree, dict) else None
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), (dict, list)) or not model["vocab"]:
        raise UserError(f"{path}: not a tokenizer.json of Hugging Face's tokenizers (no model with a vocab); restore it")
    kind = model.get("type", "BPE")  # early files do not name it
    if kind != "BPE" or not isinstance(model["vocab"], dict):
        raise UserError(f"{path}: a {kind} model; only BPE is read: give a byte-level one or a SentencePiece .model")
    if "ByteLevel" not in types_of(tree.get("pre_tokenizer")) and not model.get("byte_fallback"):
        raise UserError(f"{path}: neither byte-level nor with byte fallback, so text would be lost; give a vocabulary that is")
    added = tree.get("added_tokens") or []
    if not all(isinstance(token, dict) and isinstance(token.get("content"), str) for token in added):
        raise UserError(f"{path}: added_tokens are not a list of tokens with their content; restore the file")
    return {**tree, "added_tokens": added}


def cleaned(tree: dict[str, Any]) -> dict[str, Any]:
    """The tree without what would change or cut texts: truncation, padding, dropout, templates; no text spells a special token."""
    added = [
        {**token, "special": bool(token.get("special") or _SPECIAL_NAME.fullmatch(token["content"]))} for token in tree["added_tokens"]
    ]
    model = {**tree["model"], "type": "BPE", "dropout": None}
    return {**tree, "added_tokens": added, "model": model, "truncation": None, "padding": None, "post_processor": None}


def types_of(node: Any) -> set[str]:
    """The types of a node of the tree and of all below it."""
    if isinstance(node, dict):
        return {str(node.get("type")), *(name for value in node.values() for name in types_of(value))}
    return {name for value in node for name in types_of(value)} if isinstance(node, list) else set()


def _byte_level(*, use_regex: bool, add_prefix_space: bool = False) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": True, "use_regex": use_regex}


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # JSON and UTF-8 errors both
        raise UserError(f"{path}: not valid JSON ({error}); restore the file") from error


def _folder_tree(folder: Path) -> dict[str, Any]:
    """vocab.json and merges.txt, with what tokenizer_config.json and added_tokens.json say."""
    vocab, config = _read_json(folder / "vocab.json"), _optional(folder / "tokenizer_config.json")
    if not isinstance(vocab, dict) or not all(isinstance(token, int) for token in vocab.values()):
        raise UserError(f"{folder / 'vocab.json'}: not a vocabulary (pieces with their ids); restore the file")
    kind, normalizer = config.get("tokenizer_class", "GPT2Tokenizer"), None
    if kind in _QWEN2_CLASSES:
        pre_tokenizer, normalizer = split_and_bytes(CODE_SPLIT), {"type": "NFC"}
    elif kind in _GPT2_CLASSES:
        pre_tokenizer = _byte_level(use_regex=True, add_prefix_space=bool(config.get("add_prefix_space")))
    else:
        raise UserError(f"{folder}: vocab.json of a {kind}: how it cuts text stands in its tokenizer.json only; put that file there")
    return {
        "version": "1.0",
        "added_tokens": _added_tokens(folder, vocab, config),
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "decoder": _byte_level(use_regex=True),
        "model": {"type": "BPE", "vocab": vocab, "merges": _merges(folder / "merges.txt")},
    }


def _optional(path: Path) -> dict[str, Any]:
    value = _read_json(path) if path.is_file() else {}
    if not isinstance(value, dict):
        raise UserError(f"{path}: not a JSON object; restore or delete the file")
    return value


def _merges(path: Path) -> list[list[str]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error}); restore the file") from error
    merges = [line.split(" ") for line in lines if line.strip() and not line.startswith("#version")]
    if bad := next((merge for merge in merges if len(merge) != 2), None):
        raise UserError(f"{path}: {' '.join(bad)!r} is not a merge of two pieces; restore the file")
    return merges


def _added_tokens(folder: Path, vocab: dict[str, int], config: dict[str, Any]) -> list[dict[str, Any]]:
    """Tokens beside the merges: those the folder declares, and those of the vocabulary that have the name of one."""
    names = {name for entry in ALIASES.items() for name in (entry[0], *entry[1])}
    found = {vocab[name]: {"content": name, "special": True} for name in names if name in vocab}
    for name, token in _optional(folder / "added_tokens.json").items():
        if not isinstance(token, int):
            raise UserError(f"{folder / 'added_tokens.json'}: {token!r} is no id; restore the file")
        found[token] = {"content": name, "special": False}
    try:
        for text, fields in config.get("added_tokens_decoder", {}).items():
            found[int(text)] = {"content": str(fields["content"]), "special": bool(fields.get("special"))}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / 'tokenizer_config.json'}: added_tokens_decoder is no list of tokens by id; restore the file") from error
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return [{"id": token, **plain, **found[token]} for token in sorted(found)]
