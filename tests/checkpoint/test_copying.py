"""Copies of committed checkpoints on real fsspec file systems: whole, marker last, or without a marker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from megatron_snow.checkpoint import CheckpointStore, DamagedCheckpoint, read_checkpoint
from megatron_snow.checkpoint.copying import copy_checkpoint, open_url
from megatron_snow.common.errors import UserError


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    def write(folder: Path) -> None:
        (folder / "model").mkdir()
        for rank in range(2):
            (folder / "model" / f"__{rank}_0.distcp").write_bytes(bytes([rank]) * 9_000_000)  # more than one block

    return CheckpointStore(tmp_path / "checkpoints", keep=2).save(40, write, {"samples": 160}, keep_forever=False)


@pytest.fixture(params=["file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    yield f"file://{tmp_path}/there" if request.param == "file" else "memory://bucket/run"
    fsspec.filesystem("memory").store.clear()


def fetch(url: str, folder: Path) -> Path:
    system, root = open_url(url)
    system.get(f"{root}/step-00000040", f"{folder}/step-00000040", recursive=True)
    return folder / "step-00000040"


def test_a_copy_is_whole(saved: Path, url: str, tmp_path: Path) -> None:
    assert copy_checkpoint(saved, url)
    back = read_checkpoint(fetch(url, tmp_path / "back"))  # every digest
    assert back.state == read_checkpoint(saved).state
    assert not copy_checkpoint(saved, url)  # it is there


class Broken(RuntimeError):
    """The connection is gone."""


def test_a_broken_copy_has_no_marker_and_is_written_again(saved: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file system fails at the second shard; then at the marker; then not at all."""
    system, root = open_url(url)
    opened, piped, target = system.open, system.pipe_file, f"{root}/step-00000040"

    def fail_at_shard(path: str, *args, **options):  # type: ignore[no-untyped-def]
        if path.endswith("__1_0.distcp"):
            raise Broken(path)
        return opened(path, *args, **options)

    def fail_at_marker(path: str, *args, **options):  # type: ignore[no-untyped-def]
        raise Broken(path)

    assert open_url(url)[0] is system  # fsspec keeps its file systems
    monkeypatch.setattr(system, "open", fail_at_shard)
    with pytest.raises(Broken):
        copy_checkpoint(saved, url)
    assert system.exists(f"{target}/model/__0_0.distcp")
    assert not system.exists(f"{target}/COMMITTED")
    monkeypatch.setattr(system, "open", opened)
    monkeypatch.setattr(system, "pipe_file", fail_at_marker)
    with pytest.raises(Broken):
        copy_checkpoint(saved, url)
    assert system.exists(f"{target}/manifest.json")
    assert not system.exists(f"{target}/COMMITTED")
    monkeypatch.setattr(system, "pipe_file", piped)
    assert copy_checkpoint(saved, url)
    assert read_checkpoint(fetch(url, tmp_path / "back")).step == 40


def test_another_checkpoint_of_the_step_is_replaced(saved: Path, url: str, tmp_path: Path) -> None:
    assert copy_checkpoint(saved, url)
    other = CheckpointStore(tmp_path / "other", keep=1).save(40, lambda folder: None, {"samples": 1}, keep_forever=False)
    assert copy_checkpoint(other, url)
    assert read_checkpoint(fetch(url, tmp_path / "back")).state["samples"] == 1


def test_damage_is_not_passed_on(saved: Path, url: str) -> None:
    shard = saved / "model" / "__1_0.distcp"
    content = bytearray(shard.read_bytes())
    content[7] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DamagedCheckpoint, match=r"__1_0\.distcp: its digest differs"):
        copy_checkpoint(saved, url)
    system, root = open_url(url)
    assert not system.exists(f"{root}/step-00000040/COMMITTED")


def test_what_is_not_committed_is_not_copied(saved: Path, url: str) -> None:
    (saved / "COMMITTED").unlink()
    with pytest.raises(DamagedCheckpoint, match="not committed"):
        copy_checkpoint(saved, url)


def test_an_unknown_kind_is_a_users_mistake() -> None:
    with pytest.raises(UserError, match="nonsense://bucket: cannot be opened"):
        open_url("nonsense://bucket")
