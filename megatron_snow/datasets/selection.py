"""Which files of datasets are meant: by repository, path, id or Software Heritage's name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from megatron_snow.common.errors import UserError, nearest
from megatron_snow.common.records import read_json
from megatron_snow.datasets.lineage import Lineage

_EXACT = ("repository", "id", "swhid", "sha256")  # columns that a name is compared with as a whole
_FLAGS = {"repository": "--repository", "id": "--id", "swhid": "--swhid", "sha256": "--sha256", "path": "--path"}

_SHOWN = 5  # names of a kind in a message: to find what is nearest takes seconds among a million
_FORMS = {"id": "[0-9a-f]{32}", "sha256": "[0-9a-f]{64}", "swhid": "swh:1:cnt:[0-9a-f]{40}"}


@dataclass(frozen=True)
class Selection:
    """Files of any of the repositories, whose path fits the glob where one is given, and files of any id, swhid or sha256."""

    repository: tuple[str, ...] = ()
    path: str = ""  # a glob over paths in those repositories; * stands for slashes too
    id: tuple[str, ...] = ()
    swhid: tuple[str, ...] = ()
    sha256: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.path and not self.repository:
            raise UserError(f"--path {self.path}: of which repository? Give --repository too")
        if not any(getattr(self, name) for name in _EXACT):
            raise UserError("nothing is named: give " + ", ".join(_FLAGS[name] for name in _EXACT))

    @property
    def columns(self) -> list[str]:
        """What has to be read to decide."""
        return [*(name for name in _EXACT if getattr(self, name)), *(["path"] if self.path else [])]

    def mask(self, rows: pa.Table) -> NDArray[np.bool_]:
        """Which rows of a lineage are meant, bool[rows]."""
        found = np.zeros(len(rows), bool)
        for name in _EXACT:
            if getattr(self, name):
                here = pc.is_in(rows[name], pa.array(getattr(self, name), pa.string())).to_numpy()
                found |= self._with_path(here, rows) if name == "repository" and self.path else here
        return found

    def _with_path(self, here: NDArray[np.bool_], rows: pa.Table) -> NDArray[np.bool_]:
        numbers = np.flatnonzero(here)
        fits = [fnmatchcase(path, self.path) for path in rows["path"].take(pa.array(numbers)).to_pylist()]
        mask = np.zeros(len(here), bool)
        mask[numbers[np.array(fits, bool)]] = True
        return mask

    def as_dict(self) -> dict[str, object]:
        """What was asked, for a record."""
        return {name: value for name, value in vars(self).items() if value}


class Found(NamedTuple):
    """Files of a row group that are meant."""

    numbers: NDArray[np.int64]  # rows of the lineage
    rows: pa.Table


def find_files(lineage: Lineage, selection: Selection) -> Iterator[Found]:
    """The files that are meant, a row group at a time; only what decides is read of the others."""
    for first, rows in lineage.tables(selection.columns):
        numbers = first + np.flatnonzero(selection.mask(rows))
        if len(numbers):
            yield Found(numbers, lineage.rows(numbers))


@dataclass
class Matches:
    """Which of the names that were asked for were found."""

    selection: Selection
    _seen: dict[str, set[str]] = field(default_factory=dict)

    def add(self, rows: pa.Table) -> None:
        """Files that were found."""
        for name in self.selection.columns:
            if name != "path":
                self._seen.setdefault(name, set()).update(pc.unique(rows[name]).to_pylist())

    def missing(self) -> dict[str, list[str]]:
        """Names that no file has, by column."""
        there = {name: [value for value in getattr(self.selection, name) if value not in self._seen.get(name, ())] for name in _EXACT}
        return {name: values for name, values in there.items() if values}

    def check(self, lineages: Sequence[Lineage], where: Path) -> None:
        """UserError that names each name that no file has, with the nearest one that a repository has."""
        missing = self.missing()
        known = set(_repositories(lineages)) if "repository" in missing else set()
        parts = [self._lacks(name, value, known) for name, values in missing.items() for value in values[:_SHOWN]]
        total = sum(map(len, missing.values()))
        if parts:
            more = [f"and {total - len(parts):,} more"] if total > len(parts) else []
            raise UserError("\n".join([*(f"{where}: {part}" for part in parts), *more]))

    def _lacks(self, name: str, value: str, known: set[str]) -> str:
        if value in known:
            return f"--path {self.selection.path}: no file of {value} has such a path"
        near = nearest(value, known) if name == "repository" else ""
        return f"{_FLAGS[name]} {value}: no file has it{near}"


def read_names(path: Path) -> list[str]:
    """The names of a file, one a line; what follows a # is a remark."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file with a name a line ({error})") from error
    names = [name for line in lines if (name := line.partition("#")[0].strip())]
    if not names:
        raise UserError(f"{path}: no name in it; give one a line")
    return names


def _repositories(lineages: Iterable[Lineage]) -> Iterator[str]:
    seen: dict[str, None] = {}
    for lineage in lineages:
        for _, rows in lineage.tables(["repository"]):
            seen |= dict.fromkeys(pc.unique(rows["repository"]).to_pylist())
    yield from seen


def selection_of(options: Mapping[str, Any]) -> Selection:
    """The selection of a verb's options, without repeats."""
    return Selection(path=options.get("path") or "", **{name: tuple(dict.fromkeys(options.get(name) or ())) for name in _EXACT})


def read_selection(path: Path) -> Selection:
    """The selection of a request that `Selection.as_dict` was written to."""
    return selection_of(read_json(path))


def named_documents(path: Path) -> dict[str, list[str]]:
    """The documents that a file names, one a line, by the column that has such names; UserError for a line that is of none."""
    found: dict[str, list[str]] = {}
    for name in read_names(path):
        column = next((column for column, form in _FORMS.items() if re.fullmatch(form, name)), None)
        if column is None:
            raise UserError(f"{path}: {name!r} is no id (32 hexadecimal digits), SHA-256 (64) or SWHID (swh:1:cnt:...)")
        found.setdefault(column, []).append(name)
    return found
