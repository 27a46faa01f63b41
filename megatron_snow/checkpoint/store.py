"""A folder of checkpoints: save with commit, load with verification and fallback, retention."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from megatron_snow.checkpoint.integrity import DamagedCheckpoint, is_committed, read_manifest, seal, verify, write_manifest
from megatron_snow.common.errors import UserError
from megatron_snow.common.files import PARTIAL, beside, fsync

STATE = "state.yaml"
_NAME = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint after `step` optimizer steps. `state` is plain YAML: step, samples, tokens, phase, versions."""

    path: Path
    step: int
    state: dict[str, Any]

    @property
    def model(self) -> Path:
        """What `Engine.load` and `read_model` read."""
        return self.path / "model"

    @property
    def recipe(self) -> Path:
        """The resolved recipe of the run that saved it."""
        return self.path / "recipe.yaml"

    @property
    def tokenizer(self) -> Path:
        """The tokenizer that goes with the weights: a tokenizer.json, or a SentencePiece tokenizer.model."""
        tree = self.path / "tokenizer.json"
        return tree if tree.is_file() else self.path / "tokenizer.model"


def read_checkpoint(path: Path, *, weights: bool = True) -> Checkpoint:
    """The verified checkpoint in a folder of any name; DamagedCheckpoint (a UserError) names a bad file.

    `weights=False` does not read the weights, only their sizes: a look that takes no time.
    """
    if not path.is_dir():
        raise UserError(f"{path}: no such checkpoint; it is a folder like step-00000128, made by `megatron-snow pretrain`")
    verify(path, weights=weights)
    try:
        state = yaml.safe_load((path / STATE).read_text(encoding="utf-8"))
        return Checkpoint(path, int(state["step"]), state)
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError, FileNotFoundError) as error:  # sealed, but not by `save`
        raise DamagedCheckpoint(f"{path / STATE}: not the state of a checkpoint: {' '.join(str(error).split())[:200]}") from error


class CheckpointStore:
    """The checkpoints of a run. `keep` newest ones stay, and those saved with `keep_forever`."""

    def __init__(self, root: Path, keep: int) -> None:
        self.root = root
        self.keep = max(1, keep)

    def save(
        self,
        step: int,
        write: Callable[[Path], None],
        state: dict[str, Any],
        *,
        keep_forever: bool,
        in_use: Collection[int] = (),
        is_main: bool = True,
        barrier: Callable[[], object] = lambda: None,
    ) -> Path:
        """Save what `write(folder)` writes; called by every rank, each of which may write files of its own.

        One rank is main: it makes the temporary folder, which the others meet on a shared file system,
        and commits when all have written. A kill at any moment leaves the older checkpoints as they were.
        `in_use`: steps of older ones that somebody reads, which stay for now; a later save looks again.
        """
        try:
            if is_main:
                self.begin(step, state)
            barrier()
            write(self.temporary(step))
            barrier()
            if is_main:
                self.commit(step, keep_forever=keep_forever, in_use=in_use)
            barrier()
        finally:
            if is_main:
                self.abandon(step)
        return self.folder(step)

    def begin(self, step: int, state: dict[str, Any]) -> Path:
        """The first part of `save`, for one rank: the folder to write to, in which there is the state. Ends what was begun before."""
        temporary = self.temporary(step)
        self._remove_leavings()
        temporary.mkdir(parents=True)
        (temporary / STATE).write_text(yaml.safe_dump({"step": step, **state}, sort_keys=False), encoding="utf-8")
        return temporary

    def commit(
        self, step: int, *, keep_forever: bool, in_use: Collection[int] = (), known: Mapping[str, tuple[str, int]] | None = None
    ) -> None:
        """The last part, for one rank, when all have written. `known`: digests and sizes that `write_manifest` need not take."""
        temporary = self.temporary(step)
        write_manifest(temporary, known, keep_forever=keep_forever)
        self._commit(temporary, self.folder(step))
        self._retain(step, in_use)

    def abandon(self, step: int) -> None:
        """Remove what is left of a save that was not committed: a full disk gets back what it took."""
        shutil.rmtree(self.temporary(step), ignore_errors=True)

    def temporary(self, step: int) -> Path:
        """Where the files of a save lie until it is committed."""
        return beside(self.folder(step), PARTIAL)

    def folder(self, step: int) -> Path:
        """Where the checkpoint of a step lies: step-00000128."""
        return self.root / f"step-{step:08d}"

    def steps(self) -> list[int]:
        """Steps of committed checkpoints, oldest first; nothing is verified."""
        return [step for step, path in self._folders() if is_committed(path)]

    def newest(self) -> Checkpoint | None:
        """The newest committed checkpoint that looks whole without reading weights, for checks before a start."""
        for step in reversed(self.steps()):
            with contextlib.suppress(DamagedCheckpoint):  # `latest` says so, loudly
                return read_checkpoint(self.folder(step), weights=False)
        return None

    def latest(self, *, weights: bool = True) -> Checkpoint | None:
        """The newest whole checkpoint, each newer one that is not told on stderr; None where nothing was saved yet.

        `weights=False` looks at their sizes alone; `verify` of what it gives can then go on while the run does. UserError where
        checkpoints are there and none is whole: starting again from nothing would throw the run away without a word.
        """
        damages = []
        for _step, path in reversed(list(self._folders())):
            try:
                return read_checkpoint(path, weights=weights)
            except DamagedCheckpoint as error:
                damages.append(str(error))
                kind = "damaged" if is_committed(path) else "unfinished"
                print(f"WARNING: {kind} checkpoint: {error}\nWARNING: falling back to the one before it", file=sys.stderr, flush=True)
        if any(is_committed(path) for _step, path in self._folders()):
            raise UserError(
                f"{self.root}: no whole checkpoint: {'; '.join(damages)}; restore the files, or move the folder away to start from step 0"
            )
        return None

    def at(self, step: int) -> Checkpoint:
        """The verified checkpoint of a step; UserError where it is missing or damaged."""
        if step not in self.steps():
            raise UserError(f"{self.root}: no checkpoint of step {step}; there are {', '.join(map(str, self.steps())) or 'none'}")
        return read_checkpoint(self.folder(step))

    def _folders(self) -> Iterator[tuple[int, Path]]:
        paths = self.root.iterdir() if self.root.is_dir() else ()
        yield from sorted((int(match[1]), path) for path in paths if (match := _NAME.fullmatch(path.name)) and path.is_dir())

    def _commit(self, temporary: Path, final: Path) -> None:
        fsync(temporary)
        if final.exists():  # damaged, or cut off before its marker: what replaces it is written in full
            self._remove(final)
        os.replace(temporary, final)
        fsync(final.parent)
        seal(final)

    def _retain(self, step: int, in_use: Collection[int]) -> None:
        """Remove what is older than the `keep` newest, up to `step`: a damaged one beyond it must not count."""
        kept = [path for number, path in self._folders() if number <= step and is_committed(path)][-self.keep :]
        for number, path in self._folders():
            if number < step and number not in in_use and path not in kept and not _is_kept_forever(path):
                self._remove(path)

    def _remove(self, path: Path) -> None:
        """Take the name away first, so that what a kill leaves never looks like a checkpoint."""
        dying = beside(path, f".old{PARTIAL}")
        shutil.rmtree(dying, ignore_errors=True)
        os.replace(path, dying)
        shutil.rmtree(dying)

    def _remove_leavings(self) -> None:
        for path in self.root.glob(f"step-*{PARTIAL}") if self.root.is_dir() else ():
            shutil.rmtree(path)


def _is_kept_forever(path: Path) -> bool:
    if not is_committed(path):
        return False
    try:
        return bool(read_manifest(path)["keep_forever"])
    except UserError:  # damaged: kept, for whoever repairs it
        return True
