"""One row of a table as a file: the columns of The Stack v1 and v2, StarCoderData and our own schema."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, get_args

from megatron_snow.common.errors import UserError
from megatron_snow.config.schema import LicenceKind
from megatron_snow.corpus.licences import LicenceMap, normalise
from megatron_snow.corpus.sources.files import is_text
from megatron_snow.corpus.sources.parts import Limits, RawFile
from megatron_snow.pipeline.columns import ALIASES, source_of

_COLUMNS = tuple(ALIASES)
_OTHERS = ("licence_kind", "license_type", "swhid", "blob_id", "files")  # that are read where a table has them

# StarCoderData writes the metadata into the text: <reponame>a/b<filename>c.py<gh_stars>0
_STARCODER_HEADER = re.compile(r"\A(?:<(?:reponame|filename|gh_stars)>[^\n<]*)+\n?")

# The Stack v2's words for what its detected licences come to.
_LICENCE_TYPES = {"permissive": "permissive", "no_license": "unlicensed"}

_KINDS = get_args(LicenceKind)

_SWHID = re.compile(r"swh:1:cnt:[0-9a-f]{40}")

Chosen = Mapping[str, str]  # column of DOCUMENT -> its name in a table


def columns_of(names: Sequence[str], place: str) -> Chosen:
    """Which columns a table has, under which names; UserError where it has no text."""
    chosen = _chosen(tuple(names))
    if "content" not in chosen and "files" not in chosen:
        raise _no_content(names, place)
    return chosen


@lru_cache(maxsize=256)
def _chosen(names: tuple[str, ...]) -> Chosen:
    return {column: name for column in _COLUMNS if (name := source_of(column, names))} | {name: name for name in _OTHERS if name in names}


def files_of_row(row: Mapping[str, Any], chosen: Chosen, table: str, place: str, limits: Limits) -> Iterator[RawFile]:
    """The file of a row, or the files nested in it (The Stack v2 by repository: a list `files` in each row).

    A file without a repository's name belongs to its table.
    """
    if "content" in chosen:
        yield _file(row, chosen, table, place, limits)
        return
    shared = {column: name for column, name in chosen.items() if column not in ("files", "swhid", "blob_id")}
    common = {name: row.get(name) for name in shared.values()}
    for number, file in enumerate(row.get("files") or ()):
        inside = f"{place}.files[{number}]"
        if not isinstance(file, dict):
            raise UserError(f"{inside}: is {type(file).__name__}, not an object with a path and content; restore or delete the row")
        own = columns_of(list(file), f"{inside}: ")
        yield _file({**common, **file}, {**shared, **own}, table, inside, limits)


def _no_content(names: Sequence[str], place: str) -> UserError:
    if "blob_id" in names:
        return UserError(
            f"{place}this is The Stack v2's list of ids, without the text: fetch each file from Software Heritage first "
            "(s3://softwareheritage/content/BLOB_ID, gzip, in the encoding of src_encoding) and add it as a column `content`"
        )
    return UserError(f"{place}no column content (or text, code); it has {', '.join(names)}")


def _file(row: Mapping[str, Any], chosen: Chosen, table: str, place: str, limits: Limits) -> RawFile:
    content = row.get(chosen["content"])
    if not isinstance(content, str | bytes | None):
        raise UserError(f"{place}: {chosen['content']} is {type(content).__name__}, not text; restore or delete the row")
    data = _STARCODER_HEADER.sub("", content, count=1) if isinstance(content, str) and content.startswith("<") else content or ""
    size = len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode("utf-8", "replace"))
    facts = {column: row.get(name) for column, name in chosen.items() if column != "content"}
    texts = {column: _text(facts.get(column)) for column in ("repository", "path", "language", "licence", "revision", "date")}
    dropped = "too_large" if size > limits.max_file_bytes else ""
    if not all(map(is_text, texts.values())):  # JSON can spell half a character, which no file can hold
        dropped, texts = "encoding", dict.fromkeys(texts, "")
    return RawFile(
        repository=texts["repository"] or table,
        path=texts["path"].lstrip("/"),  # The Stack v2 begins them so
        provenance=place,
        data="" if dropped else data,
        licences=_declared(texts["licence"]),
        licence_kind=_kind(facts),
        language=texts["language"],
        dropped=dropped,
        size=size,
        revision=texts["revision"],
        date=texts["date"],
        stars=_number(facts.get("stars")),
        forks=_number(facts.get("forks")),
        swhid=_swhid(facts),
    )


@lru_cache(maxsize=4096)
def _declared(licence: str) -> LicenceMap:
    return LicenceMap(declared=" AND ".join(filter(None, map(normalise, licence.split("\n")))))


def _text(value: Any) -> str:
    """A value as text; of a list its texts, a line each; of a time ISO 8601; "" for none."""
    if isinstance(value, list):
        return "\n".join(dict.fromkeys(entry for entry in value if isinstance(entry, str)))
    return value.isoformat() if hasattr(value, "isoformat") else "" if value is None else str(value)


def _number(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) and value == value and abs(value) < 2**63 else None


def _kind(facts: Mapping[str, Any]) -> str:
    given = _text(facts.get("licence_kind"))
    return given if given in _KINDS else _LICENCE_TYPES.get(_text(facts.get("license_type")), "")


def _swhid(facts: Mapping[str, Any]) -> str:
    given = _text(facts.get("swhid")) or f"swh:1:cnt:{_text(facts.get('blob_id'))}"
    return given if _SWHID.fullmatch(given) else ""
