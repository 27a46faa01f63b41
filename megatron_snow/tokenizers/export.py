"""A SentencePiece model as tokenizer.json, so that transformers gives the same ids without SentencePiece.

SentencePiece merges the adjacent pair whose union has the best score, leftmost first; a merge list
with the pieces in the order of their scores, and every way to split each of them, does the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sentencepiece

from megatron_snow.common.errors import UserError
from megatron_snow.common.records import write_json
from megatron_snow.tokenizers.sentencepiece_tokenizer import SentencePieceTokenizer
from megatron_snow.tokenizers.tokenizer import SPACE_MARK


def write_huggingface_tokenizer(model_path: Path, folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json of a model of `train_sentencepiece` into `folder`.

    AutoTokenizer.from_pretrained(folder) then gives exactly the ids of SentencePieceTokenizer: text that
    spells a special token stays text (`split_special_tokens`). To prompt with fill-in-the-middle tokens,
    load it with split_special_tokens=False.
    """
    eod = SentencePieceTokenizer(model_path).eod  # also the checks and messages of a bad file
    processor = sentencepiece.SentencePieceProcessor(model_proto=model_path.read_bytes())
    if processor.encode("a", return_type="numpy").size != 1 or not processor.is_byte(processor.piece_to_id("<0x00>")):
        raise UserError(f"{model_path}: not a model of tools/train_tokenizer.py; copy the tokenizer files that its makers publish")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "tokenizer.json", _tokenizer_json(processor))
    end_of_document = processor.id_to_piece(eod)
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": end_of_document,
            "pad_token": end_of_document,
            "unk_token": processor.id_to_piece(processor.unk_id()),
            "split_special_tokens": True,
            "clean_up_tokenization_spaces": False,
            "model_max_length": 1_000_000_000,
        },
    )


def _tokenizer_json(processor: sentencepiece.SentencePieceProcessor) -> dict[str, Any]:
    pieces = [processor.id_to_piece(token) for token in range(processor.get_piece_size())]
    # Spaces stay spaces, so a literal U+2581 is an unknown character and falls back to its bytes, as in our encode.
    names = [piece.replace(SPACE_MARK, " ") for piece in pieces]
    control = [token for token in range(len(pieces)) if processor.is_control(token) or processor.is_unknown(token)]
    first_byte = pieces.index("<0x00>")
    # The trainer puts user-defined pieces (tabs) before the bytes; text is cut at them before anything is merged.
    user = [token for token in range(first_byte) if token not in control]
    learnt = range(first_byte + 256, len(pieces))
    return {
        "version": "1.0",
        "added_tokens": [_added(token, names[token], special=True) for token in control]
        + [_added(token, names[token], special=False) for token in user],
        "normalizer": None,
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
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


def _added(token: int, content: str, *, special: bool) -> dict[str, Any]:
    return {
        "id": token,
        "content": content,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": special,
    }
