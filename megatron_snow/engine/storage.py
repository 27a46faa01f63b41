"""Files of a torch_dist checkpoint. Its metadata is a pickle, which is read without running what it holds.

A pickle can name any function of any module to be called. This reader knows the classes that such metadata is made of
and refuses every other name; the tensors beside it are read with `weights_only`.
"""

from __future__ import annotations

import enum
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch.distributed.checkpoint import CheckpointException, FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta

from megatron_snow.common.errors import UserError

METADATA_FILE = ".metadata"

_CHECKPOINT = "torch.distributed.checkpoint."
_ALLOWED = {
    "collections": {"OrderedDict", "defaultdict"},
    "builtins": {"dict", "list", "set", "tuple"},
    "pathlib": {"PosixPath"},
    "torch": {"Size", "strided"} | {str(dtype).removeprefix("torch.") for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)},
    "torch.serialization": {"_get_layout"},
    "torch.distributed._shard.sharded_tensor.metadata": {"MEM_FORMAT_ENCODING", "TensorProperties"},
    _CHECKPOINT + "filesystem": {"_StorageInfo", "_StoragePrefix"},
    _CHECKPOINT + "metadata": {
        "BytesStorageMetadata", "ChunkStorageMetadata", "Metadata", "MetadataIndex", "StorageMeta", "TensorProperties",
        "TensorStorageMetadata", "_MEM_FORMAT_ENCODING",
    },
    _CHECKPOINT + "planner": {"SavePlan", "TensorWriteData", "WriteItem", "WriteItemType"},
    # Plans that megatron-core leaves in the metadata of what it wrote itself.
    "megatron.core.dist_checkpointing.strategies.torch": {"MCoreMetadata", "MCoreSavePlan"},
}  # fmt: skip


class _MetadataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name in _ALLOWED.get(module, ()):
            return super().find_class(module, name)
        if (module, name) == ("builtins", "getattr"):  # how Python 3.11.0 to 3.11.3 pickle a member of an enumeration
            return _member
        raise pickle.UnpicklingError(f"it names {module}.{name}, which has no place in the metadata of tensors")


def _member(enumeration: object, name: str) -> enum.Enum:
    """`getattr` of an enumeration's member, and of nothing else."""
    if not isinstance(enumeration, enum.EnumMeta):
        raise pickle.UnpicklingError(f"it takes {name} of {enumeration}, which is no enumeration")
    return enumeration[name]


@contextmanager
def readable(folder: Path) -> Iterator[None]:
    """What torch raises on reading tensors that are damaged, or no tensors at all, as a UserError that names the folder."""
    try:
        yield
    except CheckpointException as error:
        causes = [failure for failure, _trace in error.failures.values()]
        told = " ".join(str(causes[0] if causes else error).split())[:80]  # what follows is torch's advice to load it all the same
        raise UserError(f"{folder}: its tensors cannot be read: {told}; take a checkpoint from a source that you trust") from error


class MetadataReader(FileSystemReader):
    """torch's reader of a checkpoint folder, with the metadata read by an unpickler that knows only its classes.

    UserError naming the file when it is missing, damaged or holds anything but metadata.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__(folder)
        self._metadata = _read_metadata(Path(folder) / METADATA_FILE)

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """What was read when the reader was made."""
        metadata = self._metadata
        metadata.storage_meta = metadata.storage_meta or StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata


def _read_metadata(path: Path) -> Metadata:
    try:
        with open(path, "rb") as file:
            metadata = _MetadataUnpickler(file).load()
    except FileNotFoundError:
        raise UserError(f"{path}: missing; {path.parent} is not a checkpoint of a model") from None
    except Exception as error:  # a damaged pickle raises nearly anything
        raise UserError(f"{path}: refused: {error}; take a checkpoint from a source that you trust") from error
    _check_paths(metadata, path)
    return cast(Metadata, metadata)


def _check_paths(metadata: Any, path: Path) -> None:
    """The metadata must be what it says, and its tensors must lie in files of its own folder."""
    if not isinstance(metadata, Metadata) or not isinstance(metadata.storage_data, dict):
        raise UserError(f"{path}: refused: it holds no metadata of tensors; take a checkpoint from a source that you trust")
    for info in metadata.storage_data.values():
        if Path(info.relative_path).name != info.relative_path:
            raise UserError(f"{path}: refused: it points outside its folder, to {info.relative_path}")
