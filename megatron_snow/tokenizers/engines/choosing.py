"""Which engine encodes in batches: the first that reads the tokenizer and gives the reference's ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from megatron_snow.common.errors import UserError, nearest
from megatron_snow.tokenizers.engines import bpe, fast_tokens
from megatron_snow.tokenizers.engines.parity import Checked, Encoder, Unsupported, excerpt, first_difference, probes
from megatron_snow.tokenizers.tokenizer import Tokenizer

# What makes an encoder of a tokenizer, or raises Unsupported.
ENGINES: dict[str, Callable[[Tokenizer], Encoder]] = {"bpe": bpe.encoder_of, "fastokens": fast_tokens.encoder_of}


def choose_engine(tokenizer: Tokenizer, name: str = "auto", samples: Sequence[str] = ()) -> None:
    """Let `name` ("auto", "reference" or one of ENGINES) do the tokenizer's `encode_batch`.

    Each is held against the reference on made texts and on `samples` first. "auto" falls back to the reference, and
    `tokenizer.engine_reason` says why. UserError where `name` is none, cannot read the tokenizer or gives other ids.
    """
    if name == "reference":
        return tokenizer.use_engine("reference", "asked for", None)
    if name != "auto" and name not in ENGINES:
        known = ("auto", "reference", *ENGINES)
        raise UserError(f"tokenizer engine {name!r} is none of {', '.join(known)}{nearest(name, known)}")
    reasons = []
    for candidate in ENGINES if name == "auto" else [name]:
        encode, reason = _tried(tokenizer, candidate, samples)
        if encode is not None:
            return tokenizer.use_engine(candidate, reason, encode)
        reasons.append(f"{candidate}: {reason}")
    if name != "auto":
        raise UserError(f"{tokenizer.path}: {reasons[0]}; leave the engine at auto, or ask for reference")
    return tokenizer.use_engine("reference", "; ".join(reasons), None)


def _tried(tokenizer: Tokenizer, name: str, samples: Sequence[str]) -> tuple[Checked | None, str]:
    """An encoder that passed, and how many texts it was held against; or None and why not."""
    try:
        encode = ENGINES[name](tokenizer)
    except Unsupported as error:
        return None, str(error)
    texts = [*probes(tokenizer), *samples]
    different = first_difference(tokenizer, encode, texts)
    if different is not None:
        return None, f"other ids than the reference for {excerpt(texts[different])}"
    return Checked(tokenizer, name, encode), f"the same ids as the reference on {len(texts)} texts"
