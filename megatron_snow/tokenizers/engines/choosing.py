"""Which engine encodes in batches: the first that reads the tokenizer and gives the reference's ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from megatron_snow.common.errors import UserError, nearest
from megatron_snow.tokenizers.engines import bpe, fast_tokens
from megatron_snow.tokenizers.engines.parity import Checked, Encoder, Unsupported, excerpt, first_difference, probes
from megatron_snow.tokenizers.tokenizer import Tokenizer

# What makes an encoder of a tokenizer, or raises Unsupported.
ENGINES: dict[str, Callable[[Tokenizer], Encoder]] = {"bpe": bpe.encoder_of, "fastokens": fast_tokens.encoder_of}
_VERSIONS = {"bpe": bpe.version, "fastokens": fast_tokens.version}


class Choice(NamedTuple):
    """An engine that passed, for other processes of the same command: these need not try it again."""

    engine: str
    reason: str
    tokenizer: str  # its digest
    version: str  # of the engine


def choice_of(tokenizer: Tokenizer) -> Choice:
    """What was chosen for a tokenizer; it is chosen now where no batch was encoded before."""
    return Choice(tokenizer.engine, tokenizer.engine_reason, tokenizer.digest, _version(tokenizer.engine))


def choose_engine(tokenizer: Tokenizer, name: str | Choice = "auto", samples: Sequence[str] = ()) -> None:
    """Let `name` ("auto", "reference" or one of ENGINES) do the tokenizer's `encode_batch`.

    Each is held against the reference on made texts and on `samples` first. "auto" falls back to the reference, and
    `tokenizer.engine_reason` says why. A `Choice` is taken over where tokenizer and engine are those it was made with, else it
    counts as "auto". UserError where `name` is none, cannot read the tokenizer or gives other ids.
    """
    if isinstance(name, Choice):
        if not _take_over(tokenizer, name):
            _choose(tokenizer, "auto", samples)
    elif name == "reference":
        tokenizer.use_engine("reference", "asked for", None)
    elif name == "auto" or name in ENGINES:
        _choose(tokenizer, name, samples)
    else:
        known = ("auto", "reference", *ENGINES)
        raise UserError(f"tokenizer engine {name!r} is none of {', '.join(known)}{nearest(name, known)}")


def _choose(tokenizer: Tokenizer, name: str, samples: Sequence[str]) -> None:
    reasons = []
    for candidate in ENGINES if name == "auto" else [name]:
        encode, reason = _tried(tokenizer, candidate, samples)
        if encode is not None:
            return tokenizer.use_engine(candidate, reason, encode)
        reasons.append(f"{candidate}: {reason}")
    if name != "auto":
        raise UserError(f"{tokenizer.path}: {reasons[0]}; leave the engine at auto, or ask for reference")
    return tokenizer.use_engine("reference", "; ".join(reasons), None)


def _version(engine: str) -> str:
    return _VERSIONS[engine]() if engine in _VERSIONS else ""


def _take_over(tokenizer: Tokenizer, choice: Choice) -> bool:
    """Use an engine that was tried elsewhere; False where it is not the same here (another machine)."""
    if choice[2:] != (tokenizer.digest, _version(choice.engine)):
        return False
    try:
        encode = ENGINES[choice.engine](tokenizer) if choice.engine in ENGINES else None
    except Unsupported:
        return False
    tokenizer.use_engine(choice.engine, choice.reason, encode and Checked(tokenizer, choice.engine, encode))
    return True


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
