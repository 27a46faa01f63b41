"""What package an archive is, by the metadata in it: npm, source distributions and wheels, Debian packages, crates."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from email.parser import HeaderParser
from typing import Any

from megatron_snow.corpus import licences


@dataclass(frozen=True)
class Package:
    """Facts for all files of an archive; "" where the metadata does not say."""

    name: str = ""  # "npm:express", "python:flask", "debian:bats", "crate:serde"
    revision: str = ""  # its version
    declared: str = ""  # licence
    date: str = ""  # ISO 8601

    def or_else(self, other: Package) -> Package:
        """This one, with the other's facts where it has none."""
        return Package(self.name or other.name, self.revision or other.revision, self.declared or other.declared, self.date or other.date)


def python_name(name: str) -> str:
    """A distribution's name as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def is_metadata(archive: str, name: str) -> bool:
    """Whether a member says what the package is: it lies at the top, or one folder below."""
    folder, _, base = name.rpartition("/")
    if base == "copyright":
        return archive.endswith(".deb") and folder.startswith("usr/share/doc/")
    if base == "package.json":
        return folder == "package" or (archive.endswith(".tgz") and "/" not in folder)
    if base == "Cargo.toml":
        return archive.endswith(".crate") and "/" not in folder
    if base == "METADATA":
        return folder.endswith(".dist-info") and "/" not in folder
    return (base == "PKG-INFO" and "/" not in folder) or name == DEBIAN_CONTROL


DEBIAN_CONTROL = "DEBIAN/control"  # where dpkg-deb's raw extraction puts it


def package_of(name: str, data: bytes) -> Package:
    """The facts of one metadata file; empty ones where it is damaged."""
    text = data.decode("utf-8", "replace")
    base = name.rpartition("/")[2]
    try:
        if base == "package.json":
            return _npm(json.loads(text))
        if base == "Cargo.toml":
            return _crate(tomllib.loads(text))
    except (ValueError, RecursionError, AttributeError, TypeError):
        return Package()
    if base == "copyright":
        return Package(declared=licences.from_debian_copyright(text))
    fields = HeaderParser().parsestr(text)
    if name == DEBIAN_CONTROL:
        return Package(_prefixed("debian", fields["Package"]), (fields["Version"] or "").strip())
    declared = licences.from_metadata(dict(fields.items()), fields.get_all("Classifier") or [])
    return Package(_prefixed("python", python_name(fields["Name"] or "")), (fields["Version"] or "").strip(), declared)


def _npm(values: Mapping[str, Any]) -> Package:
    """`license` is an SPDX expression; old packages have an object, or a list called `licenses`, with `type`."""
    given = values.get("license") or values.get("licenses") or ""
    names = [entry.get("type", "") if isinstance(entry, dict) else entry for entry in (given if isinstance(given, list) else [given])]
    declared = " OR ".join(filter(None, (licences.normalise(name) for name in names if isinstance(name, str))))
    return Package(_prefixed("npm", values.get("name")), str(values.get("version") or ""), declared)


def _crate(values: Mapping[str, Any]) -> Package:
    package = values.get("package", {})
    declared = str(package.get("license") or "").replace("/", " OR ")  # Cargo's old spelling: MIT/Apache-2.0
    return Package(_prefixed("crate", package.get("name")), str(package.get("version") or ""), licences.normalise(declared))


def _prefixed(kind: str, name: Any) -> str:
    """KIND:NAME, or "" for what is no name of one line."""
    return f"{kind}:{name.strip()}" if isinstance(name, str) and name.strip() and name.isprintable() else ""
