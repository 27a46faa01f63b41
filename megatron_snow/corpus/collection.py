"""Raw files to documents: the order of repositories, reading, and the facts of each document.

Parts are drawn in an order seeded by their repository's name and packed into blocks of 8 MB. A block
is a task: it reads, decodes and names the language of its files. `selection` then says what fits.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from megatron_snow.common.checksums import bytes_digest, text_digest
from megatron_snow.common.files import atomic_folder, beside
from megatron_snow.common.records import read_json
from megatron_snow.common.roles import role_of
from megatron_snow.corpus.counting import Tally
from megatron_snow.corpus.encodings import converted, decoded
from megatron_snow.corpus.language import is_wanted, language_of, languages_by_name
from megatron_snow.corpus.left_out import LeftOut
from megatron_snow.corpus.licences import kind_of
from megatron_snow.corpus.opt_out import read_opt_out
from megatron_snow.corpus.outcome import REJECTS
from megatron_snow.corpus.sources import PART_BYTES, Limits, Member, Part, RawFile, read_part
from megatron_snow.pipeline import ShardWriter

# 8 MB of text a shard, so that the stages that follow have work for several processes.
SHARD_BYTES = PART_BYTES

_TOLD_APART = re.compile(r"#\d+$")  # of a second repository of one name


def in_seeded_order(parts: Iterable[Part], seed: int, first: Sequence[str]) -> list[Part]:
    """Parts by a digest of (seed, repository); repositories named in `first` before all others."""
    numbered = enumerate(parts)  # the parts of a repository stay in their own order
    rank = {name: place for place, name in enumerate(first)}
    keyed = [((rank.get(part.name, len(rank)), text_digest(f"{seed}:{part.name}"), number), part) for number, part in numbered]
    return [part for _, part in sorted(keyed, key=lambda pair: pair[0])]


def cap_repositories(parts: Iterable[Part], max_bytes: int, limits: Limits) -> tuple[list[Part], Counter[str]]:
    """Parts without the files that are beyond `max_bytes` of one repository (0: no limit), and the count of these.

    What is known not to be collected takes no room: files that are too large, and those whose name says that they are in
    none of the languages of `limits` (none: all). Containers (archives, tables) stay whole: what is in them is known when
    they are read, and `selection` caps that.
    """
    if not max_bytes:
        return list(parts), Counter()
    taken: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    kept: list[Part] = []
    for part in parts:
        members = []
        for member in part.members:
            size = member.size if _may_be_kept(member, limits) else 0
            if taken[part.name] + size <= max_bytes:
                taken[part.name] += size
                members.append(member)
            else:
                dropped += Counter({"documents": 1, "bytes": member.size, "dropped:repository_share": 1})
        if members or part.kind != "files":
            kept.append(replace(part, members=tuple(members), size=sum(member.size for member in members) or part.size))
    return kept, dropped


def _may_be_kept(member: Member, limits: Limits) -> bool:
    named = languages_by_name(member.path, limits.languages)
    other = limits.languages and named and limits.languages.isdisjoint(named)
    return member.size <= limits.max_file_bytes and not other


def write_listing(parts: Iterable[Part], folder: Path) -> list[Path]:
    """Pack parts into blocks of about SHARD_BYTES, one JSON file a block: the inputs of the reading tasks."""
    blocks: list[list[Part]] = [[]]
    size = 0
    for part in parts:
        if blocks[-1] and size + part.size > SHARD_BYTES:
            blocks.append([])
            size = 0
        blocks[-1].append(part)
        size += part.size
    with atomic_folder(folder) as temporary:
        for number, block in enumerate(blocks):
            with open(temporary / _name(number), "w", encoding="utf-8") as file:
                json.dump([part.to_json() for part in block], file)  # ASCII: a location may be no UTF-8
    return [folder / _name(number) for number in range(len(blocks))]


def _name(number: int) -> str:
    return f"block-{number:05d}.json"


def read_listing(path: Path) -> list[Part]:
    """The parts of one block."""
    return [Part.from_json(value) for value in read_json(path)]


@dataclass(frozen=True)
class Wanted:
    """Which documents are collected; an empty set wants all."""

    languages: frozenset[str] = frozenset()
    licence_kinds: frozenset[str] = frozenset()
    opted_out: frozenset[str] = frozenset()  # repositories in lower case


def read_block(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: one block's files to documents; everything that is dropped is counted by rule. A second input is the opt-out list."""
    tally, left_out = Tally(), LeftOut(parameters["samples"])
    limits = Limits(parameters["max_file_bytes"], frozenset(parameters["full"]), frozenset(parameters["languages"]))
    opted_out = read_opt_out(inputs[1]) if len(inputs) > 1 else frozenset()
    wanted = Wanted(limits.languages, frozenset(parameters["licence_kinds"]), opted_out)
    with ShardWriter(beside(prefix, ".parquet")) as writer:
        for part in read_listing(inputs[0]):
            for raw in read_part(part, limits):
                document, rule, language = document_of(raw, wanted)
                if document is None:
                    tally.drop(rule, language, raw.size)
                    left_out.add(raw, rule, language)
                else:
                    tally.keep(document["language"], document["size"])
                    writer.write(document)
    left_out.write(beside(prefix, REJECTS))
    return tally


def document_of(raw: RawFile, wanted: Wanted = Wanted()) -> tuple[dict[str, Any] | None, str, str | None]:
    """(document, "", language) or (None, the rule that drops it, its language where known)."""
    if wanted.opted_out and _TOLD_APART.sub("", raw.repository).lower() in wanted.opted_out:
        return None, "opt_out", None
    if raw.dropped:
        return None, raw.dropped, None
    text, rule = decoded(raw.data)
    if text is None:
        return None, rule, None
    content = text.encode("utf-8")
    given = raw.language and is_wanted(raw.language, wanted.languages)
    language = raw.language if given else language_of(raw.path, content, wanted.languages)
    if language is None:
        return None, "unknown_language", None
    if wanted.languages and language not in wanted.languages:
        return None, "other_language", language
    code, rule = converted(text, language)
    if code is None:
        return None, rule, language
    licence, kind = _licence_of(raw, text)
    if wanted.licence_kinds and kind not in wanted.licence_kinds:
        return None, f"licence_{kind}", language
    facts = {"language": language, "licence": licence, "licence_kind": kind}
    return _document(raw, code, content if code is text else code.encode("utf-8"), facts | _hashes(raw, content)), "", language


def _licence_of(raw: RawFile, text: str) -> tuple[str, str]:
    """(licence, its kind): the kind that the source says counts where the licence tells none."""
    licence = raw.licences.licence_of(raw.path, text)
    kind = kind_of(licence)
    return licence, raw.licence_kind or kind if kind in ("unknown", "unlicensed") else kind


def _document(raw: RawFile, text: str, content: bytes, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": bytes_digest(content),
        "repository": raw.repository,
        "path": raw.path,
        "role": role_of(raw.path, facts["language"]),
        "stars": raw.stars,
        "forks": raw.forks,
        "date": raw.date,
        "revision": raw.revision,
        "size": len(content),
        "provenance": raw.provenance,
        "content": text,
        **facts,
    }


def _hashes(raw: RawFile, content: bytes) -> dict[str, str]:
    """Of the bytes as they lie in the repository; of the UTF-8 text where a table has text alone."""
    data = raw.data if isinstance(raw.data, bytes) else content
    blob = hashlib.sha1(b"blob %d\0" % len(data), usedforsecurity=False)
    blob.update(data)
    return {"sha256": hashlib.sha256(data).hexdigest(), "swhid": raw.swhid or f"swh:1:cnt:{blob.hexdigest()}"}
