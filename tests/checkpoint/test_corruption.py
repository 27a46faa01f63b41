"""Random damage to real checkpoints: each is found, its file named, and the checkpoint before it taken.

24 trials here; 500 with `pytest -m slow tests/checkpoint/test_corruption.py`.
"""

from __future__ import annotations

import dataclasses
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from megatron_snow.checkpoint import CheckpointStore
from megatron_snow.config import Blend, Curve, Phase, save_recipe
from megatron_snow.engine import Engine
from megatron_snow.model import build_snowcoder

STEPS = (1, 2, 3)


@pytest.fixture(scope="module")
def run(tiny_recipe: Callable[..., Any], code_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of three steps of an engine, each of other bytes and equal sizes."""
    import torch

    recipe = tiny_recipe(num_layers=1)
    recipe = dataclasses.replace(recipe, phases=(Phase("general", data=(Blend("general"),), tokens=4096, lr=Curve("constant", 1e-2)),))
    root = tmp_path_factory.mktemp("run")
    engine = Engine(recipe, build_snowcoder(recipe))

    def write(folder: Path) -> None:
        engine.save(folder / "model")
        save_recipe(recipe, folder / "recipe.yaml")
        shutil.copyfile(code_tokenizer, folder / "tokenizer.model")

    try:
        for step in STEPS:
            engine.train_step(torch.randint(0, 130, (8, 33), generator=torch.Generator().manual_seed(step)), 1e-2)
            CheckpointStore(root, keep=9).save(step, write, {"samples": 8 * step, "tokens": 256 * step}, keep_forever=False)
    finally:
        engine.close()
    return root


def flip(path: Path, chance: random.Random, other: Path) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def truncate(path: Path, chance: random.Random, other: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(len(content))])


def delete(path: Path, chance: random.Random, other: Path) -> None:
    path.unlink()


def swap(path: Path, chance: random.Random, other: Path) -> None:
    """The file of that name of another checkpoint."""
    shutil.copyfile(other, path)


HARMS = (flip, truncate, delete, swap)


def sweep(run: Path, scratch: Path, capsys: pytest.CaptureFixture[str], trials: int) -> Counter[str]:
    """Damage the newest checkpoint `trials` times and count what was done; asserts that every trial was found."""
    chance, store, done = random.Random(20), CheckpointStore(scratch, keep=9), Counter[str]()
    shutil.copytree(run, scratch)
    newest, before = (store.folder(step) for step in (3, 2))
    files = sorted(path.relative_to(newest) for path in newest.rglob("*") if path.is_file())
    while done.total() < trials:
        name, harm = chance.choice(files), HARMS[done.total() % len(HARMS)]
        path, whole = newest / name, (newest / name).read_bytes()
        harm(path, chance, before / name)
        same = path.is_file() and (path.read_bytes() == whole or (name.name == "COMMITTED" and path.read_bytes().strip() == whole.strip()))
        if same:  # a file that is equal in both checkpoints, or nothing but the marker's newline
            path.write_bytes(whole)
            continue
        latest = store.latest()
        told = capsys.readouterr().err
        assert latest is not None
        assert latest.step == 2, f"{harm.__name__} of {name} was not found"
        # Marker and manifest seal each other: of a changed one it is the manifest that no longer fits.
        named = {"COMMITTED": "manifest.json" if path.is_file() else "COMMITTED"}.get(name.as_posix(), name.as_posix())
        assert named in told, f"{harm.__name__} of {name}: {told}"
        assert "falling back" in told
        path.write_bytes(whole)
        done[harm.__name__] += 1
    assert store.latest() == store.at(3)  # and the restored one is whole again
    return done


def test_damage_of_real_checkpoints(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep(run, tmp_path / "run", capsys, 24) == {harm.__name__: 6 for harm in HARMS}


@pytest.mark.slow
def test_five_hundred_damages(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = sweep(run, tmp_path / "run", capsys, 500)
    assert done == {harm.__name__: 125 for harm in HARMS}
    with capsys.disabled():
        print(f"\n500 of 500 found and named: {dict(done)}")
