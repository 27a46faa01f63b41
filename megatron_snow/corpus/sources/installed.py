"""What is installed on this machine as repositories: the standard library, Python distributions, Debian packages."""

from __future__ import annotations

import importlib.metadata
import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from megatron_snow.config import Source
from megatron_snow.corpus import licences
from megatron_snow.corpus.sources.files import members_of, walk
from megatron_snow.corpus.sources.parts import Part, parts_of_files

_OURSELVES = "megatron-snow"
_DPKG = Path("/var/lib/dpkg/info")
_DEBIAN_COPYRIGHTS = Path("/usr/share/doc")
_NOT_STDLIB = frozenset(("site-packages", "dist-packages", "__pycache__"))


def list_python(source: Source) -> Iterator[Part]:
    """The running interpreter's standard library ("python:stdlib") and distributions ("python:NAME", PEP 503 names)."""
    library = Path(sysconfig.get_path("stdlib"))
    files = ((path.relative_to(library).as_posix(), str(path)) for path in walk(library, _NOT_STDLIB))
    yield from parts_of_files("python:stdlib", "PSF-2.0", list(members_of(files)))
    seen = {_OURSELVES}
    for distribution in importlib.metadata.distributions():
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"] or "").lower()
        if name and name not in seen:
            seen.add(name)
            yield from _list_distribution(name, distribution)


def _list_distribution(name: str, distribution: importlib.metadata.Distribution) -> Iterator[Part]:
    files = [file for file in distribution.files or () if ".." not in file.parts and "__pycache__" not in file.parts]
    root = str(distribution.locate_file(""))
    pairs = ((file.as_posix(), f"{root}/{file.as_posix()}") for file in files if not file.parts[0].endswith((".dist-info", ".egg-info")))
    metadata = distribution.metadata
    fields = {key: metadata[key] for key in ("License-Expression", "License") if key in metadata}
    licence = licences.from_metadata(fields, metadata.get_all("Classifier") or [])
    yield from parts_of_files(f"python:{name}", licence, list(members_of(pairs)))


def list_debian(source: Source) -> Iterator[Part]:
    """Source-like files of installed Debian packages, one package one repository ("debian:NAME")."""
    if not _DPKG.is_dir():
        print(f"note: {_DPKG} is not there: no Debian packages are collected", file=sys.stderr)
        return
    for listing in sorted(_DPKG.glob("*.list")):
        package = listing.stem.partition(":")[0]
        paths = listing.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        members = list(members_of((path.lstrip("/"), path) for path in paths if path.isprintable()))
        if members:
            yield from parts_of_files(f"debian:{package}", _debian_licence(package), members)


def _debian_licence(package: str) -> str:
    try:
        text = (_DEBIAN_COPYRIGHTS / package / "copyright").read_text(encoding="utf-8", errors="replace")
    except OSError:  # minimal images leave /usr/share/doc out
        return ""
    return licences.from_debian_copyright(text)
