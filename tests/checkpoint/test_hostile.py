"""A whole checkpoint from a stranger, sealed as ours are: whatever file holds a program, nothing of it runs and one message says why."""

from __future__ import annotations

import dataclasses
import io
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint.filesystem import _StorageInfo

from megatron_snow.checkpoint import CheckpointStore
from megatron_snow.checkpoint.integrity import seal, write_manifest
from megatron_snow.cli.main import run_verb
from megatron_snow.config import Blend, Curve, Phase, Tokenizer, save_recipe
from megatron_snow.engine import weight_shapes, write_model
from megatron_snow.engine.storage import METADATA_FILE, MetadataReader


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.folder,)


@pytest.fixture(scope="module")
def harmless(tiny_recipe: Callable[..., Any], code_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = tiny_recipe(num_layers=1)
    phase = Phase("general", data=(Blend("general"),), tokens=4096, lr=Curve("constant", 1e-2))
    recipe = dataclasses.replace(recipe, tokenizer=Tokenizer(1024), phases=(phase,))

    def write(folder: Path) -> None:
        tensors = {name: torch.ones(shape) for name, shape in weight_shapes(recipe.model, 1024).items()}
        write_model(folder / "model", tensors, recipe.model, 1024)
        save_recipe(recipe, folder / "recipe.yaml")
        shutil.copyfile(code_tokenizer, folder / "tokenizer.model")

    return CheckpointStore(tmp_path_factory.mktemp("harmless"), keep=1).save(0, write, {}, keep_forever=True)


def in_metadata(folder: Path, ran: Path) -> None:
    (folder / "model" / METADATA_FILE).write_bytes(pickle.dumps(Hostile(ran)))


def in_common(folder: Path, ran: Path) -> None:
    torch.save({"common": Hostile(ran)}, folder / "model" / "common.pt")


def in_tensors(folder: Path, ran: Path) -> None:
    """Every tensor of the shard is the program, and the metadata says so."""
    program = io.BytesIO()
    torch.save(Hostile(ran), program)
    metadata = MetadataReader(folder / "model").read_metadata()
    for index, info in metadata.storage_data.items():
        metadata.storage_data[index] = _StorageInfo(info.relative_path, 0, len(program.getvalue()))
        (folder / "model" / info.relative_path).write_bytes(program.getvalue())
    (folder / "model" / METADATA_FILE).write_bytes(pickle.dumps(metadata))


def in_state(folder: Path, ran: Path) -> None:
    (folder / "state.yaml").write_text(f"step: !!python/object/apply:os.mkdir [{ran}]\n")


def in_recipe(folder: Path, ran: Path) -> None:
    (folder / "recipe.yaml").write_text(f"name: !!python/object/apply:os.mkdir [{ran}]\n")


@pytest.mark.parametrize("hide", [in_metadata, in_common, in_tensors, in_state, in_recipe])
def test_a_program_in_any_file_does_not_run(harmless: Path, tmp_path: Path, hide: Callable[[Path, Path], None], capsys) -> None:  # type: ignore[no-untyped-def]
    folder, ran = tmp_path / "step-00000000", tmp_path / "ran"
    shutil.copytree(harmless, folder)
    hide(folder, ran)
    (folder / "manifest.json").unlink()
    (folder / "COMMITTED").unlink()
    write_manifest(folder, keep_forever=True)
    seal(folder)
    assert run_verb("convert_to_hf", ["--checkpoint", str(folder), "--output", str(tmp_path / "hf")]) == 2
    assert str(folder) in capsys.readouterr().err
    other = [str(harmless), str(folder)]
    assert run_verb("average_checkpoints", ["--checkpoints", *other, "--output", str(tmp_path / "average")]) == 2
    assert str(folder) in capsys.readouterr().err
    assert not ran.exists()


def test_the_program_would_run(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Hostile(tmp_path / "ran")))
    assert (tmp_path / "ran").is_dir()


@pytest.mark.parametrize("name", ["../secret", "model/../../secret", "/etc/hostname", "model/../..", "."])
def test_copying_a_manifest_that_leads_out_is_refused(harmless: Path, tmp_path: Path, name: str) -> None:
    """What a copy sends away is what the manifest names: no file outside may be."""
    from megatron_snow.checkpoint import DamagedCheckpoint
    from megatron_snow.checkpoint.copying import copy_checkpoint

    folder = tmp_path / "run" / "step-00000000"
    shutil.copytree(harmless, folder)
    (tmp_path / "run" / "secret").write_text("x")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = {"digest": "0", "bytes": 1}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    seal(folder)
    with pytest.raises(DamagedCheckpoint):
        copy_checkpoint(folder, f"file://{tmp_path}/there")
    assert not (tmp_path / "there").exists()
