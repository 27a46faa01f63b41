"""10,000 mutated .idx files: no crash, no read out of bounds; what is accepted is what the file says, and with a seal nothing else is.

The mutations run in a process of their own, so that a SIGBUS or SIGSEGV is seen: `python test_idx_fuzz.py FOLDER`.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from megatron_snow.common.errors import UserError
from megatron_snow.datasets import IndexedDataset, IndexedWriter
from megatron_snow.datasets.seals import seal

MUTATIONS = 10_000
ITEM_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 8: 2}  # by dtype code: whole numbers only
Random = np.random.Generator


def is_valid(index: bytes, bin_bytes: int) -> bool:
    """The format in plain Python, by its own reading of the layout: the judge of the reader."""
    if len(index) < 34 or index[:17] != b"MMIDIDX\0\0" + struct.pack("<Q", 1) or index[17] not in ITEM_SIZES:
        return False
    n, m = struct.unpack("<QQ", index[18:34])
    if len(index) != 34 + 12 * n + 8 * m:
        return False
    lengths, pointers, marks = parts_of(index)
    place = 0
    for length, pointer in zip(lengths, pointers):
        if length < 0 or pointer != place:
            return False
        place += length * ITEM_SIZES[index[17]]
    return place == bin_bytes and m > 0 and marks[0] == 0 and marks[-1] == n and marks == sorted(marks)


def parts_of(index: bytes) -> tuple[list[int], list[int], list[int]]:
    """Lengths, pointers, marks."""
    n, m = struct.unpack("<QQ", index[18:34])
    return (
        list(struct.unpack_from(f"<{n}i", index, 34)),
        list(struct.unpack_from(f"<{n}q", index, 34 + 4 * n)),
        list(struct.unpack_from(f"<{m}q", index, 34 + 12 * n)),
    )


def joined(head: bytes, lengths: list[int], pointers: list[int], marks: list[int]) -> bytes:
    return head + struct.pack(f"<{len(lengths)}i{len(pointers)}q{len(marks)}q", *lengths, *pointers, *marks)


def flip_bits(index: bytes, random: Random) -> bytes:
    changed = bytearray(index)
    for at in random.integers(0, 8 * len(index), random.integers(1, 5)):
        changed[at // 8] ^= 1 << at % 8
    return bytes(changed)


def set_bytes(index: bytes, random: Random) -> bytes:
    at, count = random.integers(0, len(index)), random.integers(1, 9)
    value = bytes([(0, 0x7F, 0x80, 0xFF)[random.integers(4)]])
    return (index[:at] + value * int(count) + index[at + count :])[: len(index)]


def cut(index: bytes, random: Random) -> bytes:
    return index[: random.integers(0, len(index))]


def extend(index: bytes, random: Random) -> bytes:
    return index + random.bytes(random.integers(1, 40))


def swap_words(index: bytes, random: Random) -> bytes:
    width = int(random.choice([1, 4, 8]))
    a, b = sorted(random.integers(0, max(1, (len(index) - 18) // width), 2) * width + 18)
    return index[:a] + index[b : b + width] + index[a + width : b] + index[a : a + width] + index[b + width :] if b - a >= width else index


def wrong_counts(index: bytes, random: Random) -> bytes:
    """Huge ones, swapped ones, and such that 12 n + 8 m overflows 64 bits to the right size."""
    n, m = struct.unpack("<QQ", index[18:34])
    pairs = [(n + 2**62, m), (n, m + 2**61), (n + 2**62, m + 2**61), (m, n), (2**64 - 1, m), (n, 2**64 - 1), (2**63, 2**63)]
    pairs += [(2**31, m), (n, 2**32), (n + 2, max(0, m - 3)), (max(0, n - 2), m + 3), (0, 0), (0, m), (n, 0), (n + 1, m), (n, m + 1)]
    return index[:18] + struct.pack("<QQ", *pairs[random.integers(len(pairs))]) + index[34:]


def wrong_head(index: bytes, random: Random) -> bytes:
    heads = [b"TNTIDX\0\0", b"MMIDIDX\0\1", b"MMIDIDX\0\0" + struct.pack(">Q", 1), b"MMIDIDX\0\0" + struct.pack("<Q", 2**63)]
    heads += [index[:17] + bytes([code]) for code in (*range(10), 255)]
    head = heads[random.integers(len(heads))]
    return head + index[len(head) :]


def wrong_entries(index: bytes, random: Random) -> bytes:
    """One or two of the lengths, pointers or marks: negative, huge, a neighbour's, one off."""
    parts = parts_of(index)
    for _ in range(random.integers(1, 3)):
        part, limit = [(parts[0], 31), (parts[1], 63), (parts[2], 63)][random.integers(3)]
        if part:
            at, other = random.integers(0, len(part), 2)
            value = [-1, -part[at], 2**limit - 1, -(2**limit), part[other], part[at] + 1, part[at] - 1, 0][random.integers(8)]
            part[at] = max(-(2**limit), min(2**limit - 1, value))
    return joined(index[:34], *parts)


def lengths_that_cancel(index: bytes, random: Random) -> bytes:
    """One longer, another shorter, all pointers to match: valid as long as none is negative."""
    lengths, _, marks = parts_of(index)
    if len(lengths) > 1:
        a, b = random.integers(0, len(lengths), 2)
        by = int(random.integers(1, 9))
        lengths[a], lengths[b] = lengths[a] + by, lengths[b] - by
    return joined(index[:34], lengths, _pointers(lengths, index), marks)


def other_borders(index: bytes, random: Random) -> bytes:
    """A mark moved; or lengths moved under pointers that stay: they overlap or leave a gap."""
    lengths, pointers, marks = parts_of(index)
    if random.random() < 0.5 and len(marks) > 2:
        marks[random.integers(1, len(marks) - 1)] = int(random.integers(0, len(lengths) + 1))
    elif lengths:
        lengths[random.integers(len(lengths))] += int(random.integers(-3, 4))
    return joined(index[:34], lengths, pointers, marks)


def more_entries(index: bytes, random: Random) -> bytes:
    """A sequence or a mark put in or left out, with the counts to match."""
    lengths, pointers, marks = parts_of(index)
    at = int(random.integers(0, len(lengths) + 1))
    kind = random.integers(4)
    if kind == 0:
        lengths.insert(at, int(random.integers(-2, 3)))
    elif kind == 1 and at < len(lengths):
        del lengths[at]
    elif kind == 2:
        marks.insert(min(at, len(marks)), int(random.integers(0, len(lengths) + 1)))
    elif len(marks) > 1:
        del marks[min(at, len(marks) - 1)]
    if kind < 2:
        marks[-1] = len(lengths)
        pointers = _pointers(lengths, index)
    return joined(index[:18] + struct.pack("<QQ", len(lengths), len(marks)), lengths, pointers, marks)


def _pointers(lengths: list[int], index: bytes) -> list[int]:
    return [sum(lengths[:at]) * ITEM_SIZES[index[17]] for at in range(len(lengths))]


KINDS: list[Callable[[bytes, Random], bytes]] = [
    flip_bits, set_bytes, cut, extend, swap_words, wrong_counts,
    wrong_head, wrong_entries, lengths_that_cancel, other_borders, more_entries,
]  # fmt: skip


def datasets(folder: Path) -> list[Path]:
    """Small datasets of all shapes: dtypes, sequences of one token, documents of none, nothing at all."""
    shapes = [("uint16", [3, 0, 1, 7, 0]), ("int32", [5, 1, 1, 1, 1, 1, 9]), ("uint8", [2, 2]), ("int64", [0, 4, 6]), ("uint16", [])]
    folder.mkdir()
    prefixes = []
    for number, (dtype, lengths) in enumerate(shapes):
        prefixes.append(folder / f"{number}-{dtype}")
        with IndexedWriter(prefixes[-1], dtype) as writer:
            for length in lengths:
                writer.append(np.arange(length) + writer.num_tokens)
                writer.end_document()
    return prefixes


def read_all(prefix: Path) -> list[bytes] | None:
    """The bytes of every sequence, None where the dataset is refused with the name of its .idx or .bin."""
    try:
        dataset = IndexedDataset(prefix)
    except UserError as error:
        if str(prefix) not in str(error):
            raise
        return None
    assert len(dataset.document_ends) == len(dataset.document_indices) - 1
    return [dataset[number].tobytes() for number in range(len(dataset))]


def fuzz(folder: Path) -> Counter[str]:
    """Mutate, open without and with a seal, read everything, compare with the judge."""
    counts: Counter[str] = Counter()
    plain, sealed = datasets(folder / "plain"), datasets(folder / "sealed")
    originals = [prefix.with_name(prefix.name + ".idx").read_bytes() for prefix in plain]
    for prefix in sealed:
        seal(prefix)
    progress = os.open(folder / "number", os.O_CREAT | os.O_WRONLY)
    for number in range(MUTATIONS):
        os.pwrite(progress, f"{number:6}".encode(), 0)
        kind, which = KINDS[number % len(KINDS)], number // len(KINDS) % len(plain)
        random = np.random.default_rng(number)
        drawn = (kind(originals[which], random) for _ in range(20))
        mutated = next((index for index in drawn if index != originals[which]), extend(originals[which], random))
        counts[one(mutated, plain[which], sealed[which], kind.__name__)] += 1
    return counts


def one(mutated: bytes, plain: Path, sealed: Path, kind: str) -> str:
    for prefix in (plain, sealed):
        prefix.with_name(prefix.name + ".idx").write_bytes(mutated)
    assert read_all(sealed) is None, f"{kind}: a seal that does not hold"
    tokens = plain.with_name(plain.name + ".bin").read_bytes()
    read, valid = read_all(plain), is_valid(mutated, len(tokens))
    assert (read is not None) == valid, f"{kind}: {'accepted' if read is not None else 'refused'}, but valid is {valid}"
    if read is None:
        return f"refused: {kind}"
    size, (lengths, pointers, _) = ITEM_SIZES[mutated[17]], parts_of(mutated)
    assert read == [tokens[pointer : pointer + length * size] for length, pointer in zip(lengths, pointers)]
    return f"another valid index: {kind}"


def test_mutated_indices(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, __file__, str(tmp_path)], capture_output=True, text=True, timeout=300)
    number = (tmp_path / "number").read_text() if (tmp_path / "number").is_file() else "none"
    assert done.returncode == 0, f"exit code {done.returncode} (negative: a signal) at mutation {number}\n{done.stderr}"
    counts = Counter(json.loads(done.stdout))
    assert counts.total() == MUTATIONS
    assert all(counts[f"refused: {kind.__name__}"] > 100 for kind in KINDS), counts
    # What only a seal can tell: the same tokens split in another way, other documents, another dtype of the same size.
    others = {kind.__name__: counts[f"another valid index: {kind.__name__}"] for kind in KINDS}
    assert min(others["lengths_that_cancel"], others["other_borders"], others["wrong_head"]) > 50, counts


if __name__ == "__main__":
    print(json.dumps(fuzz(Path(sys.argv[1]))))
