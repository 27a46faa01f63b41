"""Checksums beside a dataset: PREFIX.seal.json says what PREFIX.bin, PREFIX.idx and their companions hold.

An .idx of Megatron can be checked for its structure alone: another split of the same tokens, or a .bin
with a flipped bit, looks as good as the right one. A seal tells them apart. It holds the checksum of each
block of 8 MB, so that damage has a place and blocks can be checked side by side; that of a block is
BLAKE2b-128 over the BLAKE2b-128 of its pieces of 1 MB, which csrc/data digests eight at a time (2.5 GB/s a
core, hashlib 0.9). Entries are keyed by suffix, so files and seal may be renamed together.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from megatron_snow.common.checksums import bytes_digest, file_digest, value_digest
from megatron_snow.common.digests import digests_of
from megatron_snow.common.errors import UserError
from megatron_snow.common.files import beside
from megatron_snow.common.records import read_json, write_json

SUFFIX = ".seal.json"
_SEALED = (".bin", ".idx", ".lineage.parquet", ".starts.npy")  # the last two where they are there
_REQUIRED = _SEALED[:2]
_PIECE = 1 << 20
BLOCK = 8 * _PIECE  # bytes; one piece a lane of the compiled digest


@dataclass(frozen=True)
class Checksums:
    """What a file holds: its size and the digest of each block of BLOCK bytes (the last may be shorter)."""

    bytes: int
    blocks: tuple[str, ...]

    @property
    def digest(self) -> str:
        """One digest for the file."""
        return value_digest([self.bytes, self.blocks])


Seal = Mapping[str, Checksums]  # by suffix
Found = TypeVar("Found")


def seal(prefix: Path, workers: int = 1) -> Seal:
    """Write PREFIX.seal.json for the files that are there, atomically, and return it; reads them once, on `workers` threads.

    Where files of a dataset are given their final names, the seal goes before the .idx: without an .idx
    nothing is read, with one the seal is there.
    """
    paths = {suffix: beside(prefix, suffix) for suffix in _SEALED}
    made = {suffix: checksums_of(path, workers) for suffix, path in paths.items() if suffix in _REQUIRED or path.is_file()}
    files = {suffix: asdict(checksums) | {"digest": checksums.digest} for suffix, checksums in made.items()}
    write_json(beside(prefix, SUFFIX), {"version": 1, "block_bytes": BLOCK, "files": files})
    return made


def read_seal(prefix: Path) -> Seal | None:
    """The seal of a dataset, None where it has none; UserError where it is damaged."""
    path = beside(prefix, SUFFIX)
    if not path.is_file():
        return None
    content = read_json(path)
    try:
        if (content["version"], content["block_bytes"]) != (1, BLOCK):
            raise UserError(f"{path}: version {content['version']} with blocks of {content['block_bytes']} bytes; 1 with {BLOCK} is known")
        found = {suffix: Checksums(entry["bytes"], tuple(entry["blocks"])) for suffix, entry in content["files"].items()}
        whole = all(found[suffix].digest == content["files"][suffix]["digest"] for suffix in {*_REQUIRED, *found})
    except (KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise UserError(f"{path}: damaged; delete it, check the dataset against another copy and seal it again with check-dataset --seal")
    return found


def sealed_digest(path: Path) -> str:
    """`file_digest`, or what the seal beside the file says: a stage that has just sealed its output need not read it again."""
    for suffix in _SEALED:
        if path.name.endswith(suffix) and (found := read_seal(path.with_name(path.name.removesuffix(suffix)))) and suffix in found:
            return found[suffix].digest
    return file_digest(path)


def checksums_of(path: Path, workers: int = 1) -> Checksums:
    """Read a file and return its checksums."""
    return Checksums(path.stat().st_size, tuple(scan_blocks(path, lambda number, block: digest_of_block(block), workers)))


def check_sizes(prefix: Path, known: Seal) -> None:
    """Every sealed file is there with its size; UserError names the first that is not."""
    for suffix, checksums in known.items():
        path = beside(prefix, suffix)
        size = path.stat().st_size if path.is_file() else None
        if size != checksums.bytes:
            found = "missing" if size is None else f"{size} bytes"
            raise UserError(f"{path}: {found}, {checksums.bytes} bytes when it was sealed; {REMEDY}")


def check_whole(prefix: Path, suffix: str, known: Seal, workers: int = 1) -> None:
    """A sealed file holds what it held; UserError says where it does not."""
    path = beside(prefix, suffix)
    blocks = known[suffix].blocks
    found = scan_blocks(path, lambda number, block: blocks[number : number + 1] != (digest_of_block(block),), workers)
    if bad := [number for number, differs in enumerate(found) if differs]:
        raise UserError(f"{path}: {describe_blocks(bad, known[suffix].bytes)} not what was sealed; {REMEDY}")


def check_companion(prefix: Path, suffix: str) -> None:
    """What `check_whole` does, where the dataset has a seal and the file is sealed: for who opens a companion of the .bin."""
    found = read_seal(prefix)
    if found is not None and suffix in found:
        check_whole(prefix, suffix, found)


REMEDY = f"take the dataset from another copy or make it again (where another tool wrote these files, delete their old {SUFFIX})"


def describe_blocks(numbers: Sequence[int], size: int) -> str:
    """Byte ranges of blocks, neighbours joined: "bytes 0 to 8388608, 25165824 to 25170000"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number:
            runs[-1][1] += 1
        else:
            runs.append([number, number + 1])
    shown = [f"{first * BLOCK} to {min(size, last * BLOCK)}" for first, last in runs[:5]]
    more = f" and {len(runs) - 5} other ranges" if len(runs) > 5 else ""
    return f"bytes {', '.join(shown)}{more}"


def differing_blocks(data: np.ndarray, known: Checksums, workers: int = 1) -> list[int]:
    """Numbers of the blocks in which bytes in memory, uint8[n], differ from what was sealed."""
    numbers = range(max(len(known.blocks), -(-len(data) // BLOCK)))
    found = _on_threads(lambda number: digest_of_block(data[number * BLOCK : (number + 1) * BLOCK]), numbers, workers)
    return [number for number, digest in enumerate(found) if known.blocks[number : number + 1] != (digest,)]


def scan_blocks(path: Path, look: Callable[[int, np.ndarray], Found], workers: int = 1) -> Iterator[Found]:
    """`look(number, block)` of each block of a file, uint8[up to BLOCK], in order; on threads, so it should leave the interpreter alone."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        numbers = range(-(-os.fstat(descriptor).st_size // BLOCK))
        # pread, not a map: a file that is cut meanwhile gives fewer bytes, not a SIGBUS.
        yield from _on_threads(
            lambda number: look(number, np.frombuffer(os.pread(descriptor, BLOCK, number * BLOCK), np.uint8)), numbers, workers
        )
    finally:
        os.close(descriptor)


def _on_threads(work: Callable[[int], Found], numbers: range, workers: int) -> Iterator[Found]:
    if workers <= 1 or len(numbers) <= 1:
        yield from map(work, numbers)
        return
    with ThreadPoolExecutor(min(workers, len(numbers))) as threads:
        for first in range(0, len(numbers), 64):  # not all at once: a block waits as a task of the pool
            yield from threads.map(work, numbers[first : first + 64])


def digest_of_block(block: np.ndarray) -> str:
    """The checksum of up to BLOCK bytes, uint8[n]."""
    offsets = np.append(np.arange(0, len(block), _PIECE, dtype=np.int64), len(block))
    return bytes_digest(digests_of(block, offsets).tobytes())
