"""Manifests (what a stage did) and metrics (a line a step): the only things a report reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from megatron_snow.common.errors import UserError
from megatron_snow.common.files import atomic_file

MANIFEST = "manifest.json"


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with atomic_file(path) as file:
        json.dump(value, file, indent=1, ensure_ascii=False)
        file.write("\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; UserError that names it when it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); delete it and run the same command again") from error


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a JSONL file; a last line cut by a kill is left out."""
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                if line.endswith("\n"):
                    raise UserError(f"{path}:{number}: not valid JSON ({error.msg}); restore or delete the line") from error


@dataclass(frozen=True)
class Manifest:
    """What a stage read, did and wrote. `counts` are whole numbers by name (documents, bytes, reasons to drop)."""

    stage: str
    key: str  # digest of version, parameters and inputs: the same key, the same output
    parameters: dict[str, Any]
    outputs: dict[str, str]  # file name -> digest
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def digest(self) -> str:
        """One digest for all outputs."""
        from megatron_snow.common.checksums import value_digest

        return value_digest(self.outputs)

    def write(self, folder: Path) -> None:
        """Write `folder/manifest.json`, the commit marker of the stage."""
        write_json(folder / MANIFEST, asdict(self))


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a stage's folder, or None when the stage never finished there."""
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        return Manifest(**read_json(path))
    except TypeError as error:
        raise UserError(f"{path}: not a manifest ({error}); delete the folder and run the stage again") from error
