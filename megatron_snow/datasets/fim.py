"""Fill in the middle (Bavarian et al. 2022, arXiv 2207.14255), made while samples are read.

A document is cut at two random tokens into prefix, middle and suffix, and written as one of

    PSM    <fim_prefix> P <fim_suffix> S <fim_middle> M
    SPM    <fim_prefix> <fim_suffix> S <fim_middle> P M      the paper's variant 2 (its appendix D), as StarCoder and Megatron-LM do

so that what the model is asked for stands last. Its tokens stay what they are: nothing is decoded. Three sentinels a document
lengthen the sample, whose tail is cut by as much; the last document is permuted after the cut, so that none loses its middle.

What is permuted is a document or a file (`unit`), as far as it is in the sample; never what stands between: <|endoftext|>,
<file_sep>, a token that begins a text, "<repo_name>NAME<file_sep>". A file's path belongs to the file, as in StarCoder2
(<file_sep><fim_prefix>PATH\\n...). With unit "document" the <file_sep> inside a group move with its text.

Which, how and where is a hash of (key, number of the sample, number of the document in it): the same on every rank and after
resuming.
"""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from megatron_snow.common.errors import UserError
from megatron_snow.common.native import load_native
from megatron_snow.config import FillInMiddle
from megatron_snow.datasets.fim_reference import LEAST_TOKENS, NONE, SENTINELS, FimTokens, permute_rows
from megatron_snow.datasets.permutation import pointer
from megatron_snow.tokenizers import FILE_SEPARATOR, FIM_MIDDLE, FIM_PREFIX, FIM_SUFFIX, REPOSITORY_NAME, Tokenizer

__all__ = ["LEAST_TOKENS", "SENTINELS", "FimTokens", "fill_in_middle", "fim_tokens"]

_BEGINNINGS = ("<s>", "<|begin_of_text|>", "<｜begin▁of▁sentence｜>")  # of Llama-2, Llama-3, DeepSeek-Coder


def fim_tokens(tokenizer: Tokenizer | None, phase: str) -> FimTokens:
    """The ids of a tokenizer; UserError that names the phase where it cannot fill in the middle."""
    if tokenizer is None:
        raise UserError(f"phases.{phase}.fim.rate: fill in the middle takes the tokenizer; give it")
    ids = {name: _id_of(tokenizer, name) for name in (FIM_PREFIX, FIM_MIDDLE, FIM_SUFFIX)}
    missing = [name for name, number in ids.items() if number == NONE]
    if missing:
        raise UserError(
            f"phases.{phase}.fim.rate: {tokenizer.path} has no {', '.join(missing)}; "
            "set the rate to 0, or use a tokenizer of tools/train_tokenizer.py"
        )
    prefix, middle, suffix = ids.values()
    beginning = max(_id_of(tokenizer, name) for name in _BEGINNINGS)
    return FimTokens(
        prefix, middle, suffix, tokenizer.eod, _id_of(tokenizer, FILE_SEPARATOR), _id_of(tokenizer, REPOSITORY_NAME), beginning
    )


def fill_in_middle(
    tokens: NDArray[np.int64], segments: NDArray[np.int32], samples: NDArray[np.int64], settings: FillInMiddle, ids: FimTokens, key: int
) -> None:
    """Permute documents of samples in place.

    tokens, segments: [n, width], contiguous, as in Batch; samples: int64[n], their numbers; key: 64 bits of the seed and the phase.
    With unit "document" the files of a permuted group become one segment. Undone, a row is its old self but for SENTINELS
    tokens a permuted document at its end.
    """
    for array, dtype in ((tokens, np.int64), (segments, np.int32)):
        assert array.dtype == dtype, array.dtype
        assert array.flags.c_contiguous
    rate, spm_rate = (round(share * 2**32) for share in (settings.rate, settings.spm_rate))
    native, _ = load_native()
    if native is None:
        permute_rows(tokens, segments, samples, ids, key, rate=rate, spm_rate=spm_rate, unit=settings.unit)
        return
    samples = np.ascontiguousarray(samples, np.int64)
    how = _Native(*ids, settings.unit == "document", LEAST_TOKENS, key, rate, spm_rate)
    sizes = (ctypes.c_int64(size) for size in tokens.shape)
    native.msnow_fill_in_middle(ctypes.byref(how), pointer(tokens), pointer(segments), *sizes, pointer(samples))


class _Native(ctypes.Structure):
    """struct Fim of csrc/data/fim.cpp."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in (*FimTokens._fields, "by_document", "least")),
        *((name, ctypes.c_uint64) for name in ("key", "rate", "spm_rate")),
    ]


def _id_of(tokenizer: Tokenizer, name: str) -> int:
    try:
        return tokenizer.id_of(name)
    except UserError:
        return NONE
