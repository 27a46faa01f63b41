"""A tokenizer as tokenizer.json and tokenizer_config.json, so that transformers gives the same ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import sentencepiece
import tokenizers

from megatron_snow.common.errors import UserError
from megatron_snow.common.files import atomic_file
from megatron_snow.common.records import write_json
from megatron_snow.tokenizers.byte_level_tokenizer import ByteLevelTokenizer
from megatron_snow.tokenizers.engines.parity import excerpt, probes
from megatron_snow.tokenizers.loading import load_tokenizer
from megatron_snow.tokenizers.sentencepiece_tokenizer import SentencePieceTokenizer
from megatron_snow.tokenizers.tokenizer import SPACE_MARK, Tokenizer

_PLAIN = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}


def write_huggingface_tokenizer(model_path: Path, folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json of any tokenizer that load_tokenizer reads into `folder`.

    AutoTokenizer.from_pretrained(folder) then gives exactly the ids of `Tokenizer.encode`: text that spells a special
    token stays text (`split_special_tokens`), nothing is put before or after. To prompt with fill-in-the-middle tokens,
    load it with split_special_tokens=False. UserError for a SentencePiece model that is no BPE or changes text. Of
    another's tokenizer.json with "▁" for a space (Llama-2's), transformers takes that character in a text for a space too.
    """
    tokenizer = load_tokenizer(model_path, engine="reference")
    eod = tokenizer.eod
    if isinstance(tokenizer, SentencePieceTokenizer):
        processor = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.path.read_bytes())
        if not tokenizer.keeps_bytes:
            raise UserError(f"{tokenizer.path}: a model that changes text cannot be exported; copy the files that its makers publish")
        tree, name = sentencepiece_tree(processor, tokenizer.prefix), processor.id_to_piece(eod)
    else:
        assert isinstance(tokenizer, ByteLevelTokenizer)
        tree = tokenizer.tree
        name = next(token["content"] for token in tree["added_tokens"] if token["id"] == eod)
    _check(tokenizer, tree)
    with atomic_file(folder / "tokenizer.json") as file:
        json.dump(tree, file, indent=1, ensure_ascii=False)
        file.write("\n")
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": name,
            "pad_token": name,
            "split_special_tokens": True,
            "clean_up_tokenization_spaces": False,
            "model_max_length": 1_000_000_000,
        },
    )


def _check(tokenizer: Tokenizer, tree: dict[str, Any]) -> None:
    """UserError where what transformers will read gives other ids for any of some thousand texts that tell encoders apart."""
    backend = tokenizers.Tokenizer.from_str(json.dumps(tree, ensure_ascii=False))
    backend.encode_special_tokens = True
    # Llama-2's own tokenizer.json takes U+2581 for a space, so there it cannot do as we do.
    texts = [text for text in probes(tokenizer) if tokenizer.spelled not in text or isinstance(tokenizer, SentencePieceTokenizer)]
    for text in texts:
        if backend.encode(text, add_special_tokens=False).ids != tokenizer.encode(text):
            raise UserError(
                f"{tokenizer.path}: transformers would give other ids for {excerpt(text)}, so it cannot be exported; "
                "copy the tokenizer files that its makers publish"
            )


def sentencepiece_tree(processor: sentencepiece.SentencePieceProcessor, prefix: str) -> dict[str, Any]:
    """The tokenizer.json of a SentencePiece BPE model with byte fallback.

    SentencePiece merges the adjacent pair whose union has the best score, leftmost first; a merge list with the pieces in the
    order of their scores, and every way to split each of them, does the same.
    """
    pieces = [processor.id_to_piece(token) for token in range(processor.get_piece_size())]
    # Spaces stay spaces, so a literal U+2581 is an unknown character and falls back to its bytes, as in our encode.
    names = [piece.replace(SPACE_MARK, " ") for piece in pieces]
    control = [token for token in range(len(pieces)) if processor.is_control(token) or processor.is_unknown(token)]
    first_byte = pieces.index("<0x00>")
    # The trainer puts user-defined pieces (tabs) before the bytes; text is cut at them before anything is merged.
    user = [token for token in range(first_byte) if token not in control]
    learnt = range(first_byte + 256, len(pieces))
    added = [{"id": token, "content": names[token], **_PLAIN, "special": token in control} for token in sorted((*control, *user))]
    strip = [{"type": "Strip", "content": prefix, "start": 1, "stop": 0}] if prefix else []
    return {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {"type": "Prepend", "prepend": prefix} if prefix else None,
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}, *strip]},
        "model": {
            "type": "BPE",
            "unk_token": pieces[processor.unk_id()],
            "fuse_unk": False,
            "byte_fallback": True,
            "vocab": {name: token for token, name in enumerate(names)},
            "merges": _merges(names, learnt, processor),
        },
    }


def _merges(names: list[str], learnt: range, processor: sentencepiece.SentencePieceProcessor) -> list[list[str]]:
    """Every split of every learnt piece into two learnt pieces, best score first."""
    ids = {names[token]: token for token in learnt}
    merges = []
    for token in sorted(learnt, key=lambda token: (-processor.get_score(token), token)):
        name = names[token]
        splits = [(name[:cut], name[cut:]) for cut in range(1, len(name)) if name[:cut] in ids and name[cut:] in ids]
        merges += [list(split) for split in sorted(splits, key=lambda split: (ids[split[0]], ids[split[1]]))]
    return merges
