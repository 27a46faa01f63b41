"""fastokens (Rust, Crusoe): the BPE of a tokenizer.json."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from importlib import metadata

import numpy as np

from megatron_snow.tokenizers.engines.parity import Encoder, Unsupported
from megatron_snow.tokenizers.tokenizer import Batch, Tokenizer

# GPT-2's expression on text whose digits were cut off one by one before (StarCoder), as one expression. Blanks before a
# digit are then the last of their part, which `(?!\S)` saw as the end. fastokens does Digits at a quarter of the rate.
_DIGITS = {"type": "Digits", "individual_digits": True}
_GPT2_AND_DIGITS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+"


def encoder_of(tokenizer: Tokenizer) -> Encoder:
    """The encoder of a tokenizer.json. Unsupported where the package is missing or does not read the file."""
    text = getattr(tokenizer, "json", None)
    if text is None:
        raise Unsupported("not a tokenizer.json")
    os.environ.setdefault("FASTOKENS_BPE_THREADS", "1")  # the data tools run a process a core
    try:
        from fastokens import _native
    except ImportError as error:
        raise Unsupported(f"{error}; pip install 'megatron-snow[tokenizers-fast]'") from error
    try:
        backend = _native.Tokenizer.from_json_str(_one_expression(text))
    except Exception as error:  # the package raises no narrower class
        raise Unsupported(" ".join(str(error).split())[:200]) from error
    spelled = tokenizer.spelled

    def encode(texts: Sequence[str]) -> Batch:
        if spelled and any(spelled in text for text in texts):
            return _with_reference(tokenizer, encode, texts)
        ids, ends = backend.encode_batch_flat([tokenizer.prefix + text if text else text for text in texts], False, True)
        return np.frombuffer(ids, np.int32), np.frombuffer(ends, np.int64)[1:]

    return encode


def version() -> str:
    """Of the package, "" where it is not installed."""
    try:
        return metadata.version("fastokens")
    except metadata.PackageNotFoundError:
        return ""


def _with_reference(tokenizer: Tokenizer, encode: Encoder, texts: Sequence[str]) -> Batch:
    """Texts with the character that is spelled in bytes go to the reference."""
    parts = [tokenizer.encode_array(text) if tokenizer.spelled in text else encode([text])[0] for text in texts]
    return np.concatenate(parts), np.cumsum([len(part) for part in parts], dtype=np.int64)


def _one_expression(text: str) -> str:
    """StarCoder's two steps as one, in the text of a tokenizer.json; any other as it is."""
    if '"individual_digits"' not in text:
        return text  # 0.1 s for the parser and back
    tree = json.loads(text)
    steps = (tree.get("pre_tokenizer") or {}).get("pretokenizers", [])
    if len(steps) != 2 or steps[0] != _DIGITS or steps[1].get("type") != "ByteLevel":
        return text
    if steps[1].get("add_prefix_space") or not steps[1].get("use_regex", True):
        return text
    split = {"type": "Split", "pattern": {"Regex": _GPT2_AND_DIGITS}, "behavior": "Isolated", "invert": False}
    pre_tokenizer = {"type": "Sequence", "pretokenizers": [split, {**steps[1], "use_regex": False}]}
    return json.dumps({**tree, "pre_tokenizer": pre_tokenizer}, ensure_ascii=False)
