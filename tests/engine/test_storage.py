"""A checkpoint from a stranger: its metadata is a pickle, and must not run anything."""

from __future__ import annotations

import os
import pickle

import pytest
import torch
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.planner import WriteItemType

from megatron_snow.common.errors import UserError
from megatron_snow.engine import read_model
from megatron_snow.engine.common_state import CommonState
from megatron_snow.engine.pieces import Pieces
from megatron_snow.engine.storage import METADATA_FILE, MetadataReader
from megatron_snow.engine.writing import write_index, write_part

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def save_tensor(folder):
    folder.mkdir(exist_ok=True)
    part = write_part(folder, 0, [("weight", Pieces.of_whole(torch.arange(6.0)))])
    write_index(folder, [part], CommonState({}, 6, None))


def test_hostile_metadata_is_refused_before_it_runs(tmp_path):
    pickle.loads(pickle.dumps(Hostile(tmp_path / "ran")))
    assert (tmp_path / "ran").is_dir(), "the pickle would not have done anything"
    (tmp_path / METADATA_FILE).write_bytes(pickle.dumps(Hostile(tmp_path / "ran again")))
    with pytest.raises(UserError, match=r"\.metadata: refused: it names posix\.mkdir"):
        MetadataReader(tmp_path)
    assert not (tmp_path / "ran again").exists()


def test_hostile_common_state_is_refused_before_it_runs(tmp_path):
    torch.save({"common": Hostile(tmp_path / "ran")}, tmp_path / "common.pt")
    with pytest.raises(UserError, match=r"common\.pt: not the state of a checkpoint"):
        read_model(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_attribute_of_an_allowed_class_is_refused(tmp_path):
    (tmp_path / METADATA_FILE).write_bytes(b"\x80\x04\x8c\x05torch\x8c\x04load\x93.")
    with pytest.raises(UserError, match=r"names torch\.load"):
        MetadataReader(tmp_path)


class ByGetattr:
    """Pickled as Python 3.11.0 to 3.11.3 do with a member of an enumeration."""

    def __init__(self, owner, name):
        self.owner, self.name = owner, name

    def __reduce__(self):
        return getattr, (self.owner, self.name)


def test_members_of_enumerations_are_read_as_early_python_3_11_wrote_them(tmp_path):
    save_tensor(tmp_path)
    metadata = MetadataReader(tmp_path).read_metadata()
    metadata.planner_data = ByGetattr(WriteItemType, "TENSOR")
    (tmp_path / METADATA_FILE).write_bytes(pickle.dumps(metadata))
    assert b"getattr" in (tmp_path / METADATA_FILE).read_bytes()
    assert MetadataReader(tmp_path).read_metadata().planner_data is WriteItemType.TENSOR


def test_getattr_of_anything_else_is_refused(tmp_path):
    (tmp_path / METADATA_FILE).write_bytes(pickle.dumps(ByGetattr(dict, "fromkeys")))
    with pytest.raises(UserError, match=r"takes fromkeys of .*, which is no enumeration"):
        MetadataReader(tmp_path)


def test_files_outside_the_folder_are_refused(tmp_path):
    save_tensor(tmp_path)
    metadata = MetadataReader(tmp_path).read_metadata()
    for index, info in metadata.storage_data.items():
        metadata.storage_data[index] = _StorageInfo("../secret.distcp", info.offset, info.length)
    (tmp_path / METADATA_FILE).write_bytes(pickle.dumps(metadata))
    with pytest.raises(UserError, match=r"points outside its folder, to \.\./secret\.distcp"):
        MetadataReader(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a pickle", pickle.dumps({"state": 1})], ids=["empty", "text", "other"])
def test_damaged_metadata_is_named(tmp_path, content):
    (tmp_path / METADATA_FILE).write_bytes(content)
    with pytest.raises(UserError, match=r"\.metadata: refused"):
        MetadataReader(tmp_path)


def test_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(UserError, match=r"common\.pt: missing"):
        read_model(tmp_path / "nothing")


def test_same_tensors_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        save_tensor(tmp_path / name)
    assert (tmp_path / "a" / METADATA_FILE).read_bytes() == (tmp_path / "b" / METADATA_FILE).read_bytes()
