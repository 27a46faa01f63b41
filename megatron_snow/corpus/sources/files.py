"""Files on disk: folders of checkouts, and the reading of any listed file."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from megatron_snow.common.errors import UserError
from megatron_snow.config import Source
from megatron_snow.corpus.language import has_extension, languages_by_name
from megatron_snow.corpus.licences import LicenceMap, is_licence_file, licence_map
from megatron_snow.corpus.sources.git import Checkout, read_checkout
from megatron_snow.corpus.sources.parts import Limits, Member, Part, RawFile, parts_of_files

# Version control, caches, environments and what a build leaves behind.
_SKIPPED_FOLDERS = frozenset((
    "__pycache__", ".git", ".hg", ".svn", ".bzr", ".tox", ".nox", ".venv", "venv", ".eggs", ".mypy_cache", ".pytest_cache",
    ".ruff_cache", "node_modules",
))  # fmt: skip
_AS_LISTED = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # a file may have become a link or a pipe since
LICENCE_BYTES = 1_000_000  # of a licence file that is looked at; a larger one is none


def list_folder(source: Source, languages: Collection[str] = ()) -> Iterator[Part]:
    """A folder of checkouts: each sub-folder is a repository; one that is a checkout itself, or has a `repository`, is that one."""
    root = Path(source.path)
    if not root.is_dir():
        raise UserError(f"corpus.sources: folder {root}: no such folder; check the path")
    if source.repository or (root / ".git").exists():
        yield from _list_repository(root, source.repository, languages)
        return
    checkouts = [path for path in sorted(root.iterdir()) if path.is_dir() and path.name not in _SKIPPED_FOLDERS]
    if not checkouts:
        raise UserError(f"corpus.sources: folder {root}: has no sub-folders; give `repository: NAME` where the folder itself is one")
    for checkout in checkouts:
        yield from _list_repository(checkout, "", languages)


def _list_repository(root: Path, name: str, languages: Collection[str]) -> Iterator[Part]:
    known = read_checkout(root) if (root / ".git").exists() else None
    paths = _tracked(root, known) if known else (path.relative_to(root).as_posix() for path in walk(root))
    real = root.resolve()
    whole = Part("files", name or (known.name if known else "") or real.name, "", 0, root=str(real), named=bool(name))
    if known:
        whole = replace(whole, revision=known.revision, date=known.date)
    yield from list_files(whole, ((path, f"{root}/{path}") for path in paths), languages)


def _tracked(root: Path, checkout: Checkout) -> Iterator[str]:
    """Tracked files, but what lies behind a folder that is now a link to elsewhere."""
    inside: dict[str, bool] = {}
    real = os.path.realpath(root)
    for path in checkout.files:
        folder = os.path.dirname(path)
        if folder not in inside:
            inside[folder] = os.path.realpath(f"{root}/{folder}") == os.path.join(real, folder).rstrip("/")
        if inside[folder]:
            yield path


def walk(root: Path, skipped: frozenset[str] = _SKIPPED_FOLDERS) -> Iterator[Path]:
    """Files below a folder, in order; links and folders of `skipped` names or ending in .egg-info left out."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in skipped and not name.endswith(".egg-info"))
        yield from (Path(folder, name) for name in sorted(names))


def list_files(repository: Part, pairs: Iterable[tuple[str, str]], languages: Collection[str] = ()) -> Iterator[Part]:
    """Parts of a repository from the (path in it, location) of its files; what may be no source is left out.

    `languages` are those that are wanted, by which prose is source (`language.languages_by_name`).
    """
    members, licences = [], []
    for path, location in pairs:
        licence, source = is_licence_file(path), may_be_source(path, languages)
        if not licence and not source:
            continue
        try:
            status = os.lstat(location)
        except (OSError, ValueError):  # listed by a package or by git, removed by someone
            continue
        if stat.S_ISREG(status.st_mode):
            member = Member(path, location, status.st_size, status.st_mtime_ns)
            if licence and status.st_size <= LICENCE_BYTES:
                licences.append(member)
            if source:
                members.append(member)
    yield from parts_of_files(replace(repository, members=tuple(members), licence_files=tuple(licences)))


def may_be_source(path: str, languages: Collection[str] = ()) -> bool:
    """Whether a file's name allows a language: by linguist's tables, or no ending at all (a shebang may tell)."""
    return not has_extension(path) or bool(languages_by_name(path if is_text(path) else readable(path), languages))


def is_text(path: str) -> bool:
    """Whether a name can be written in UTF-8; one that cannot is no source that a model could be shown."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def readable(path: str) -> str:
    """A name with question marks for what is not UTF-8."""
    return path.encode("utf-8", "replace").decode("utf-8")


def read_files(part: Part, limits: Limits) -> Iterator[RawFile]:
    """The files of a part; one over the limit, of a full language or without a shebang is not read."""
    licences = _licences_of(part.licence_files, part.licence)
    for member in part.members:
        dropped = _reason_to_skip(member, limits)
        data = b""
        if not dropped:
            data, dropped = _read(member, limits.languages)
        yield RawFile(
            part.name, readable(member.path), readable(member.location), data, licences,
            dropped=dropped, size=member.size, revision=part.revision, date=part.date,
        )  # fmt: skip


def _reason_to_skip(member: Member, limits: Limits) -> str:
    if member.size > limits.max_file_bytes:
        return "too_large"
    if not is_text(member.path):
        return "name_encoding"
    known = languages_by_name(member.path, limits.languages)
    return "language_share" if known and limits.full_languages.issuperset(known) else ""


def _read(member: Member, languages: Collection[str]) -> tuple[bytes, str]:
    try:
        with open(os.open(member.location, _AS_LISTED), "rb") as file:
            head = file.read(2)
            if head != b"#!" and not languages_by_name(member.path, languages):
                return b"", "unknown_language"
            return head + file.read(member.size), ""  # not more than was listed, should it grow
    except OSError:  # permissions
        return b"", "unreadable"


@lru_cache(maxsize=8)
def _licences_of(files: tuple[Member, ...], declared: str) -> LicenceMap:
    """The licences of a repository; its parts follow each other, so a few are kept."""
    texts = {member.path: _read_licence(member) for member in files if is_text(member.path)}
    return licence_map({path: text for path, text in texts.items() if text}, declared)


def _read_licence(member: Member) -> str:
    try:
        with open(os.open(member.location, _AS_LISTED), "rb") as file:
            return file.read(LICENCE_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
