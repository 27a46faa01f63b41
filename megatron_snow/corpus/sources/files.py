"""Files on disk: folders of checkouts, and the reading of any listed file."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from megatron_snow.common.errors import UserError
from megatron_snow.config import Source
from megatron_snow.corpus import licences
from megatron_snow.corpus.language import has_extension, languages_by_name
from megatron_snow.corpus.sources.parts import Limits, Member, Part, RawFile, parts_of_files

# Version control, caches, environments and what a build leaves behind.
_SKIPPED_FOLDERS = frozenset((
    "__pycache__", ".git", ".hg", ".svn", ".bzr", ".tox", ".nox", ".venv", "venv", ".eggs", ".mypy_cache", ".pytest_cache",
    ".ruff_cache", "node_modules",
))  # fmt: skip
_LICENCE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "COPYING", "COPYING.txt")


def list_folder(source: Source) -> Iterator[Part]:
    """A folder of checkouts: each sub-folder is a repository; with `repository` given the whole is that one."""
    root = Path(source.path)
    if not root.is_dir():
        raise UserError(f"corpus.sources: folder {root}: no such folder; check the path")
    if source.repository:
        yield from _list_repository(source.repository, root)
        return
    checkouts = [path for path in sorted(root.iterdir()) if path.is_dir() and path.name not in _SKIPPED_FOLDERS]
    if not checkouts:
        raise UserError(f"corpus.sources: folder {root}: has no sub-folders; give `repository: NAME` where the folder itself is one")
    for checkout in checkouts:
        yield from _list_repository(checkout.name, checkout)


def _list_repository(name: str, root: Path) -> Iterator[Part]:
    pairs = ((path.relative_to(root).as_posix(), str(path)) for path in walk(root))
    yield from parts_of_files(name, _licence_of(root), list(members_of(pairs)))


def walk(root: Path, skipped: frozenset[str] = _SKIPPED_FOLDERS) -> Iterator[Path]:
    """Files below a folder, in order; links and folders of `skipped` names or ending in .egg-info left out."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in skipped and not name.endswith(".egg-info"))
        yield from (Path(folder, name) for name in sorted(names))


def may_be_source(path: str) -> bool:
    """Whether a file's name allows a language: by linguist's tables, or no ending at all (a shebang may tell)."""
    return bool(languages_by_name(path)) or not has_extension(path)


def is_text(path: str) -> bool:
    """Whether a name can be written in UTF-8; one that cannot is no source that a model could be shown."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def members_of(pairs: Iterable[tuple[str, str]]) -> Iterator[Member]:
    """Members for the (path in the repository, location) of regular files that may be source."""
    for path, location in pairs:
        if is_text(path) and may_be_source(path):
            try:
                status = os.lstat(location)
            except OSError:  # listed by a package, removed by someone
                continue
            if stat.S_ISREG(status.st_mode):
                yield Member(path, location, status.st_size, status.st_mtime_ns)


def read_files(part: Part, limits: Limits) -> Iterator[RawFile]:
    """The files of a part; one over the limit, of a full language or without a shebang is not read."""
    for member in part.members:
        dropped = _reason_to_skip(member, limits)
        data = b""
        if not dropped:
            data, dropped = _read(member)
        yield RawFile(part.repository, member.path, part.licence, member.location, data, "", dropped, member.size)


def _reason_to_skip(member: Member, limits: Limits) -> str:
    if member.size > limits.max_file_bytes:
        return "too_large"
    known = languages_by_name(member.path)
    return "language_share" if known and limits.full_languages.issuperset(known) else ""


def _read(member: Member) -> tuple[bytes, str]:
    try:
        with open(member.location, "rb") as file:
            head = file.read(2)
            if head != b"#!" and not languages_by_name(member.path):
                return b"", "unknown_language"
            return head + file.read(), ""
    except OSError:  # permissions
        return b"", "unreadable"


def _licence_of(root: Path) -> str:
    for name in _LICENCE_FILES:
        if (root / name).is_file():
            return licences.from_text((root / name).read_text(encoding="utf-8", errors="replace"))
    return ""
