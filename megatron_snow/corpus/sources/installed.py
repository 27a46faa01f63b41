"""What is installed on this machine as repositories: the standard library, Python distributions, Debian packages."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
import sysconfig
from collections.abc import Collection, Iterator
from pathlib import Path

from megatron_snow.config import Source
from megatron_snow.corpus import licences
from megatron_snow.corpus.sources.files import list_files, walk
from megatron_snow.corpus.sources.packages import python_name
from megatron_snow.corpus.sources.parts import Part

_OURSELVES = "megatron-snow"
_DPKG = Path("/var/lib/dpkg")
_DEBIAN_COPYRIGHTS = Path("/usr/share/doc")
_NOT_STDLIB = frozenset(("site-packages", "dist-packages", "__pycache__"))


def list_python(source: Source, languages: Collection[str] = ()) -> Iterator[Part]:
    """The running interpreter's standard library ("python:stdlib") and distributions ("python:NAME", PEP 503 names)."""
    library = Path(sysconfig.get_path("stdlib"))
    files = ((path.relative_to(library).as_posix(), str(path)) for path in walk(library, _NOT_STDLIB))
    yield from list_files(Part("files", "python:stdlib", "PSF-2.0", 0, revision=platform.python_version()), files, languages)
    seen = {_OURSELVES}
    for distribution in importlib.metadata.distributions():
        name = python_name(distribution.metadata["Name"] or "")
        if name and name not in seen:
            seen.add(name)
            yield from _list_distribution(name, distribution, languages)


def _list_distribution(name: str, distribution: importlib.metadata.Distribution, languages: Collection[str]) -> Iterator[Part]:
    files = [file for file in distribution.files or () if ".." not in file.parts and "__pycache__" not in file.parts]
    root = str(distribution.locate_file(""))
    pairs = ((file.as_posix(), f"{root}/{file.as_posix()}") for file in files if not file.parts[0].endswith((".dist-info", ".egg-info")))
    metadata = distribution.metadata
    fields = {key: metadata[key] for key in ("License-Expression", "License") if key in metadata}
    licence = licences.from_metadata(fields, metadata.get_all("Classifier") or [])
    yield from list_files(Part("files", f"python:{name}", licence, 0, revision=distribution.version or ""), pairs, languages)


def list_debian(source: Source, languages: Collection[str] = ()) -> Iterator[Part]:
    """Source-like files of installed Debian packages, one package one repository ("debian:NAME")."""
    if not (_DPKG / "info").is_dir():
        print(f"note: {_DPKG}/info is not there: no Debian packages are collected", file=sys.stderr)
        return
    versions = _debian_versions()
    for listing in sorted((_DPKG / "info").glob("*.list")):
        package = listing.stem.partition(":")[0]
        paths = listing.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        pairs = ((path.lstrip("/"), path) for path in paths if path.isprintable())
        facts = Part("files", f"debian:{package}", _debian_licence(package), 0, revision=versions.get(package, ""))
        yield from list_files(facts, pairs, languages)


def _debian_versions() -> dict[str, str]:
    try:
        status = (_DPKG / "status").read_text(encoding="utf-8", errors="replace")
    except OSError:  # images without apt
        return {}
    return dict(re.findall(r"^Package: (\S+)\n(?:\S.*\n| .*\n)*?Version: (\S+)$", status, re.MULTILINE))


def _debian_licence(package: str) -> str:
    try:
        text = (_DEBIAN_COPYRIGHTS / package / "copyright").read_text(encoding="utf-8", errors="replace")
    except OSError:  # minimal images leave /usr/share/doc out
        return ""
    return licences.from_debian_copyright(text)
