"""Saving, finding, keeping and refusing checkpoints; the files are small, the protocol is the real one."""

from __future__ import annotations

import errno
import json
import os
import threading
from pathlib import Path

import pytest

from megatron_snow.checkpoint import CheckpointStore, DamagedCheckpoint, read_checkpoint
from megatron_snow.common.checksums import file_digest
from megatron_snow.common.errors import UserError


def weights(folder: Path, content: bytes = b"weights" * 1000) -> None:
    (folder / "model").mkdir()
    (folder / "model" / "__0_0.distcp").write_bytes(content)


def save(store: CheckpointStore, step: int, *, keep_forever: bool = False) -> Path:
    return store.save(step, weights, {"samples": step * 4, "phase": "general"}, keep_forever=keep_forever)


def test_round_trip(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints", keep=2)
    assert store.latest() is None
    assert store.newest() is None
    path = save(store, 128)
    checkpoint = store.latest()
    assert checkpoint is not None
    assert checkpoint.path == path == tmp_path / "checkpoints" / "step-00000128"
    assert checkpoint.state == {"step": 128, "samples": 512, "phase": "general"}
    assert (checkpoint.model / "__0_0.distcp").read_bytes() == b"weights" * 1000
    assert store.at(128) == checkpoint == store.newest()
    assert not list(store.root.glob("*.partial"))


def test_retention_keeps_the_newest_and_the_ends_of_phases(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    for step in (10, 20, 30, 40, 50, 60):
        save(store, step, keep_forever=step == 30)
    assert store.steps() == [30, 50, 60]


def test_retention_does_not_count_a_damaged_future(tmp_path: Path) -> None:
    """After a fallback from 20 to 10, saving 15 must not remove it in favour of the damaged 20."""
    store = CheckpointStore(tmp_path, keep=1)
    save(store, 20)
    flip(store.folder(20) / "model" / "__0_0.distcp")
    save(store, 15)
    latest = store.latest()
    assert latest is not None
    assert latest.step == 15
    save(store, 20)
    assert store.at(20).step == 20


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def delete(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("harm", [flip, truncate, delete])
@pytest.mark.parametrize("name", ["model/__0_0.distcp", "state.yaml", "manifest.json", "COMMITTED"])
def test_damage_is_named_and_the_one_before_it_is_used(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, harm) -> None:  # type: ignore[no-untyped-def]
    store = CheckpointStore(tmp_path, keep=3)
    save(store, 10)
    save(store, 20)
    harm(store.folder(20) / name)
    latest = store.latest()
    assert latest is not None
    if (name, harm) == ("COMMITTED", truncate):  # the newline alone
        assert latest.step == 20
        return
    assert latest.step == 10
    warning = capsys.readouterr().err
    assert "WARNING" in warning
    named = {("COMMITTED", flip): "20/manifest.json", ("COMMITTED", delete): "its COMMITTED was deleted"}.get((name, harm), f"20/{name}")
    assert named in warning
    if (name, harm) != ("COMMITTED", delete):  # a step without its marker is not there
        with pytest.raises(DamagedCheckpoint):
            store.at(20)


def test_a_disk_that_cannot_read_is_named_and_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """The error of a bad sector, which no test can make on a real disk."""
    from megatron_snow.checkpoint import integrity

    store = CheckpointStore(tmp_path, keep=3)
    save(store, 10)
    save(store, 20)
    shard = store.folder(20) / "model" / "__0_0.distcp"

    def digest(path: Path) -> str:
        if path == shard:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return file_digest(path)

    monkeypatch.setattr(integrity, "file_digest", digest)
    latest = store.latest()
    assert latest is not None
    assert latest.step == 10
    assert f"{shard}: cannot be read: Input/output error" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"files": []}', '{"files": {"state.yaml": 3}}', '{"files": {"": {"digest": "", "bytes": 0}}}']
)
def test_a_sealed_file_that_is_no_manifest_is_refused(tmp_path: Path, content: str) -> None:
    from megatron_snow.checkpoint.integrity import seal

    folder = save(CheckpointStore(tmp_path, keep=2), 10)
    (folder / "manifest.json").write_text(content)
    seal(folder)
    with pytest.raises(DamagedCheckpoint, match=r"manifest\.json"):
        read_checkpoint(folder)


def test_all_damaged_is_refused(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    save(store, 10)
    delete(store.folder(10) / "model" / "__0_0.distcp")
    with pytest.raises(UserError, match="no whole checkpoint"):
        store.latest()


def test_missing_step_names_those_there(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    save(store, 10)
    with pytest.raises(UserError, match="no checkpoint of step 11; there are 10"):
        store.at(11)
    with pytest.raises(UserError, match="no such checkpoint"):
        read_checkpoint(tmp_path / "step-00000011")


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname"])
def test_manifest_cannot_name_files_outside(tmp_path: Path, name: str) -> None:
    from megatron_snow.checkpoint.integrity import seal

    store = CheckpointStore(tmp_path / "checkpoints", keep=2)
    folder = save(store, 10)
    (folder.parent / "secret").write_text("x")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = {"digest": "0", "bytes": 1}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    seal(folder)
    with pytest.raises(DamagedCheckpoint, match="leads out of the checkpoint"):
        read_checkpoint(folder)


def test_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints", keep=2)
    folder = save(store, 10)
    shard = folder / "model" / "__0_0.distcp"
    shard.rename(tmp_path / "elsewhere")
    shard.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DamagedCheckpoint, match="leads out of the checkpoint"):
        read_checkpoint(folder)


def test_failed_save_leaves_nothing_and_the_old_one_stands(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=1)
    save(store, 10)

    def write(folder: Path) -> None:
        weights(folder)
        raise OSError(errno.ENOSPC, "no space", str(folder))

    with pytest.raises(OSError, match="no space"):
        store.save(20, write, {}, keep_forever=False)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000010"]
    assert store.latest() is not None


def test_ranks_write_into_one_folder(tmp_path: Path) -> None:
    """Three threads stand for ranks, with a real barrier: all their files are in the manifest."""
    barrier = threading.Barrier(3)

    def rank(number: int) -> None:
        store = CheckpointStore(tmp_path, keep=1)
        store.save(
            5,
            lambda folder: (folder / f"shard-{number}").write_bytes(bytes([number]) * 100),  # type: ignore[arg-type, return-value]
            {},
            keep_forever=True,
            is_main=number == 0,
            barrier=lambda: barrier.wait(timeout=120),
        )

    ranks = [threading.Thread(target=rank, args=(number,)) for number in range(3)]
    for thread in ranks:
        thread.start()
    for thread in ranks:
        thread.join()
    folder = CheckpointStore(tmp_path, keep=1).at(5).path
    assert set(json.loads((folder / "manifest.json").read_text())["files"]) == {"state.yaml", "shard-0", "shard-1", "shard-2"}
