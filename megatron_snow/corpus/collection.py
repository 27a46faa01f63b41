"""Raw files to documents: the order of repositories, reading, and the share of each language.

Parts are drawn in an order seeded by their repository's name and packed into blocks of 8 MB. A block
is a task: it reads, decodes and names the language of its files. `selection` then says what fits.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from megatron_snow.common.checksums import text_digest
from megatron_snow.common.files import atomic_folder, beside
from megatron_snow.common.records import read_json
from megatron_snow.corpus.counting import Tally
from megatron_snow.corpus.encodings import decode, is_binary
from megatron_snow.corpus.language import is_code, language_of, languages_by_name
from megatron_snow.corpus.sources import PART_BYTES, Limits, Part, RawFile, read_part
from megatron_snow.pipeline import ShardWriter

# 8 MB of text a shard, so that the stages that follow have work for several processes.
SHARD_BYTES = PART_BYTES


def in_seeded_order(parts: Iterable[Part], seed: int, first: Sequence[str]) -> list[Part]:
    """Parts by a digest of (seed, repository); repositories named in `first` before all others."""
    numbered = enumerate(parts)  # the parts of a repository stay in their own order
    rank = {name: place for place, name in enumerate(first)}
    keyed = [((rank.get(part.repository, len(rank)), text_digest(f"{seed}:{part.repository}"), number), part) for number, part in numbered]
    return [part for _, part in sorted(keyed, key=lambda pair: pair[0])]


def cap_repositories(parts: Iterable[Part], max_bytes: int, languages: Sequence[str] = ()) -> tuple[list[Part], Counter[str]]:
    """Parts without the files that are beyond `max_bytes` of one repository, and the count of these.

    Files whose name says that they are in none of the wanted `languages` (none: all) take no room. Containers
    (archives, tables) stay whole: what is in them is known when they are read.
    """
    taken: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    kept: list[Part] = []
    wanted = frozenset(languages)
    for part in parts:
        members = []
        for member in part.members:
            named = languages_by_name(member.path)
            size = 0 if wanted and named and wanted.isdisjoint(named) else member.size
            if taken[part.repository] + size <= max_bytes:
                taken[part.repository] += size
                members.append(member)
            else:
                dropped += Counter({"documents": 1, "bytes": member.size, "dropped:repository_share": 1})
        if members or part.kind != "files":
            kept.append(replace(part, members=tuple(members), size=sum(member.size for member in members) or part.size))
    return kept, dropped


def write_listing(parts: Iterable[Part], folder: Path) -> list[Path]:
    """Pack parts into blocks of about SHARD_BYTES, one JSON file a block: the inputs of the reading tasks."""
    blocks: list[list[Part]] = [[]]
    for part in parts:
        if blocks[-1] and sum(known.size for known in blocks[-1]) + part.size > SHARD_BYTES:
            blocks.append([])
        blocks[-1].append(part)
    with atomic_folder(folder) as temporary:
        for number, block in enumerate(blocks):
            with open(temporary / _name(number), "w", encoding="utf-8") as file:
                json.dump([part.to_json() for part in block], file, ensure_ascii=False)
    return [folder / _name(number) for number in range(len(blocks))]


def _name(number: int) -> str:
    return f"block-{number:05d}.json"


def read_listing(path: Path) -> list[Part]:
    """The parts of one block."""
    return [Part.from_json(value) for value in read_json(path)]


def read_block(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: one block's files to documents; everything that is dropped is counted by rule."""
    tally = Tally()
    limits = Limits(parameters["max_file_bytes"], frozenset(parameters["full"]))
    wanted = frozenset(parameters["languages"])
    with ShardWriter(beside(prefix, ".parquet")) as writer:
        for part in read_listing(inputs[0]):
            for raw in read_part(part, limits):
                document, rule, language = document_of(raw, wanted)
                if document is None:
                    tally.drop(rule, language, raw.size)
                else:
                    tally.keep(document["language"], document["size"])
                    writer.write(document)
    return tally


def document_of(raw: RawFile, wanted: frozenset[str] = frozenset()) -> tuple[dict[str, Any] | None, str, str | None]:
    """(document, "", language) or (None, the rule that drops it, its language where known)."""
    if raw.dropped:
        return None, raw.dropped, None
    if isinstance(raw.data, bytes):
        if is_binary(raw.data):
            return None, "binary", None
        text = decode(raw.data)
    else:
        text = raw.data if "\0" not in raw.data else None
    if text is None:
        return None, "encoding", None
    if not text.strip():
        return None, "empty", None
    try:
        content = text.encode("utf-8")
    except UnicodeEncodeError:  # lone surrogates, which JSON can write
        return None, "encoding", None
    language = raw.language if raw.language and is_code(raw.language) else language_of(raw.path, content)
    if language is None:
        return None, "unknown_language", None
    if wanted and language not in wanted:
        return None, "other_language", language
    return _document(raw, text, len(content), language), "", language


def _document(raw: RawFile, text: str, size: int, language: str) -> dict[str, Any]:
    return {
        "id": text_digest(text),
        "repository": raw.repository,
        "path": raw.path,
        "language": language,
        "licence": raw.licence,
        "size": size,
        "provenance": raw.provenance,
        "content": text,
    }
