"""From tokens to files and from files to tokens, as `tools/trace_tokens.py` answers it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from megatron_snow.common.errors import UserError
from megatron_snow.datasets.indexed import IndexedDataset
from megatron_snow.datasets.lineage import Lineage, Origin
from megatron_snow.datasets.selection import Matches, Selection, find_files
from megatron_snow.datasets.sources import dataset_prefixes
from megatron_snow.tokenizers import Tokenizer


@dataclass(frozen=True)
class TracedToken:
    """A token with the file that it is of."""

    dataset: str  # prefix
    token: int
    id: int  # in the vocabulary
    file: Origin
    place: int  # in the file, from 0; the separator after it comes at `file.tokens`
    before: str = ""  # text of the file around the token
    text: str = ""
    after: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class TracedFile:
    """A file with its tokens in a dataset: [token_start, token_start + tokens)."""

    dataset: str
    file: Origin

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def open_lineages(dataset: Path) -> list[Lineage]:
    """The lineages of a folder of datasets or of the prefix of one; UserError where there is none."""
    prefixes = dataset_prefixes(dataset)
    if not prefixes:
        raise UserError(f"{dataset}: no dataset there; give a folder with .idx files, or the path of one without .idx")
    return [Lineage(prefix) for prefix in prefixes]


def trace_token(lineage: Lineage, token: int, tokenizer: Tokenizer | None = None, context: int = 24) -> TracedToken:
    """The file of a token, and with a tokenizer the text of `context` tokens of the file on both sides."""
    data = IndexedDataset(lineage.prefix)
    if not 0 <= token < data.num_tokens:
        raise UserError(f"--token {token}: {lineage.prefix} has tokens 0 to {data.num_tokens - 1:,}")
    file, value = lineage.at(token), int(data.read(token, 1)[0])
    place = token - file.token_start
    if tokenizer is None:
        return TracedToken(str(lineage.prefix), token, value, file, place)
    first, last = max(file.token_start, token - context), min(file.token_start + file.tokens, token + 1 + context)
    pieces = (data.read(first, token - first), data.read(token, 1), data.read(token + 1, max(0, last - token - 1)))
    before, text, after = (text_of(piece.tolist(), tokenizer) for piece in pieces)
    return TracedToken(str(lineage.prefix), token, value, file, place, before, text, after)


def text_of(ids: Sequence[int], tokenizer: Tokenizer) -> str:
    """Text of ids, in which special tokens are seen."""
    special, parts, start = tokenizer.special_tokens, [], 0
    for end, token in enumerate(ids):
        if token in special:
            parts += [tokenizer.decode(ids[start:end]), special[token]]
            start = end + 1
    return "".join([*parts, tokenizer.decode(ids[start:])])


def trace_files(lineages: Sequence[Lineage], selection: Selection, where: Path) -> Iterator[TracedFile]:
    """The files that are meant, in all datasets; UserError for a name that no file has."""
    matches = Matches(selection)
    for lineage in lineages:
        for found in find_files(lineage, selection):
            matches.add(found.rows)
            for row in found.rows.to_pylist():
                yield TracedFile(str(lineage.prefix), Origin(**{name: row[name] for name in Origin.__dataclass_fields__}))
    matches.check(lineages, where)
