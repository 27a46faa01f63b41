"""Archives as repositories: tar (plain or compressed), zip and wheels, read without unpacking to disk.

Nothing is ever written from an archive, so a member called ../x or /x can do no harm; it is dropped
and counted all the same. A member is read up to the size it declares and only where that is within
the limit, so a bomb costs no memory.
"""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from email.parser import HeaderParser
from functools import partial
from glob import glob
from pathlib import Path, PurePosixPath

from megatron_snow.common.errors import UserError
from megatron_snow.config import Source
from megatron_snow.corpus import licences
from megatron_snow.corpus.sources.files import is_text, may_be_source
from megatron_snow.corpus.sources.parts import Limits, Part, RawFile, part_of_container

_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip", ".whl")
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError)
_MANY = 10_000_000  # bytes of a licence file or of metadata that are looked at

# (name, declared size, whether it is a plain file, read up to n bytes)
_Entry = tuple[str, int, bool, Callable[[int], bytes]]


def list_archives(source: Source) -> Iterator[Part]:
    """The archives that a path or a glob names; each is one repository, called by its file name without the ending."""
    paths = [Path(name) for name in sorted(glob(source.path, recursive=True))]
    if not paths:
        raise UserError(f"corpus.sources: archive {source.path}: no such file")
    for path in paths:
        ending = next((ending for ending in sorted(_ENDINGS, key=len, reverse=True) if path.name.endswith(ending)), None)
        if ending is None:
            raise UserError(f"corpus.sources: archive {path}: not one of {' '.join(_ENDINGS)}")
        yield part_of_container("archive", path, source.repository or path.name.removesuffix(ending))


def read_archive(part: Part, limits: Limits) -> Iterator[RawFile]:
    """The files of one archive that may be source, its common top folder cut off."""
    try:
        licence, top = _survey(part.path)
        for name, size, plain, read in _entries(part.path):
            path = name.removeprefix(top)
            if not plain or not is_text(name) or not may_be_source(path) or ".dist-info/" in path:
                continue
            dropped = "unsafe_path" if _leaves(name) else "too_large" if size > limits.max_file_bytes else ""
            data = b"" if dropped else read(size)
            yield RawFile(part.repository, path, licence, f"{part.path}!{name}", data, "", dropped, size)
    except _DAMAGED as error:
        raise UserError(f"{part.path}: damaged archive ({error}); fetch it again or take it out of corpus.sources") from error


def _entries(path: str) -> Iterator[_Entry]:
    if path.endswith((".zip", ".whl")):
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                yield info.filename, info.file_size, not info.is_dir(), partial(_from_zip, archive, info)
    else:
        with tarfile.open(path, "r|*") as tar:
            for member in tar:
                yield member.name.removeprefix("./"), member.size, member.isreg(), partial(_from_tar, tar, member)


def _from_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo, count: int) -> bytes:
    with archive.open(info) as file:
        return file.read(count)


def _from_tar(tar: tarfile.TarFile, member: tarfile.TarInfo, count: int) -> bytes:
    file = tar.extractfile(member)
    return file.read(count) if file else b""


def _survey(path: str) -> tuple[str, str]:
    """(licence, the top folder that all files share with its slash, or "")."""
    tops: set[str] = set()
    declared = words = ""
    for name, _, plain, read in _entries(path):
        if not plain:
            continue
        tops.add(name.partition("/")[0] + "/" if "/" in name else "")
        depth, base = name.count("/"), PurePosixPath(name).name
        if depth <= 1 and not declared and base in ("METADATA", "PKG-INFO"):
            fields = HeaderParser().parsestr(read(_MANY).decode("utf-8", "replace"))
            declared = licences.from_metadata(dict(fields.items()), fields.get_all("Classifier") or [])
        elif depth <= 1 and not words and base.upper().startswith(("LICENSE", "LICENCE", "COPYING")):
            words = licences.from_text(read(_MANY).decode("utf-8", "replace"))
    return declared or words, tops.pop() if len(tops) == 1 else ""


def _leaves(name: str) -> bool:
    return name.startswith("/") or "\\" in name or ".." in PurePosixPath(name).parts
