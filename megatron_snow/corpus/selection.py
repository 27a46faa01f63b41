"""The limit of a corpus and of each language in it.

With a limit, blocks are read in rounds until the corpus is full; then one pass over their documents,
in order, keeps what there is room for. A round depends on what was read before it, never on the
number of workers, so neither does the result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from megatron_snow.common.files import beside
from megatron_snow.common.records import read_json
from megatron_snow.corpus.collection import SHARD_BYTES, read_listing
from megatron_snow.corpus.counting import Tally
from megatron_snow.corpus.language import languages_by_name
from megatron_snow.corpus.sources import Part
from megatron_snow.pipeline import RECORD, ShardWriter, Task, read_documents, read_table

_MIN_ROUND_BYTES = 4 * SHARD_BYTES  # work enough that the start of a pool of processes does not matter


@dataclass
class Room:
    """How much the corpus still takes: in all, and of each language (0: no limit of its own)."""

    max_bytes: int
    max_language_bytes: int
    taken: Counter[str] = field(default_factory=Counter)

    @property
    def left(self) -> int:
        """Bytes until the corpus is full."""
        return max(0, self.max_bytes - self.taken.total())

    def full_languages(self) -> list[str]:
        """Languages within 1 % of their share: filling the rest would mean reading very many files for small ones."""
        full = 0.99 * self.max_language_bytes
        return sorted(language for language, taken in self.taken.items() if full and taken >= full)

    def rule_against(self, language: str, size: int) -> str:
        """Take a document of that language and size (""), or name the rule that has no room for it."""
        if not self.left:
            return "max_bytes"
        if self.max_language_bytes and self.taken[language] + size > self.max_language_bytes:
            return "language_share"
        self.taken[language] += size
        return ""


def next_round(listing: Sequence[Path], start: int, room: Room) -> int:
    """The end of a round of blocks from `start`: as many bytes as there is room for, of languages that are not full."""
    enough = max(room.left, _MIN_ROUND_BYTES)
    full = set(room.full_languages())
    wanted = 0
    for number in range(start, len(listing)):
        wanted += sum(_unread_bytes(part, full) for part in read_listing(listing[number]))
        if wanted >= enough:
            return number + 1
    return len(listing)


def _unread_bytes(part: Part, full: set[str]) -> int:
    if part.kind != "files":
        return part.size
    return sum(member.size for member in part.members if not full.issuperset(languages_by_name(member.path) or {""}))


class Selection:
    """Blocks as they are read, packed into tasks of `select_blocks` that give shards of about SHARD_BYTES."""

    def __init__(self, room: Room, dropped: Counter[str]) -> None:
        self.room = room
        self._before = dropped  # before anything was read
        self._blocks: list[list[Path]] = []
        self._taken: list[dict[str, int]] = []  # before each task
        self._dropped: list[Counter[str]] = []  # while reading its blocks

    def add(self, shard: Path) -> None:
        """Take a block's documents, in order, as `select_blocks` will."""
        taken = self.room.taken
        if not self._blocks or taken.total() - sum(self._taken[-1].values()) >= SHARD_BYTES:
            self._blocks.append([])
            self._taken.append(dict(taken))
            self._dropped.append(self._before if not self._dropped else Counter())
        self._blocks[-1].append(shard)
        self._dropped[-1] += dropped_while_reading(read_json(shard.with_name(shard.stem + RECORD))["counts"])
        table = read_table(shard, ["language", "size"])
        for language, size in zip(table["language"].to_pylist(), table["size"].to_pylist()):
            self.room.rule_against(language, size)

    def add_unread(self, listing: Sequence[Path]) -> None:
        """Count what lies in blocks that the full corpus left unread."""
        parts = [part for path in listing for part in read_listing(path)]
        self._dropped[-1] += Counter(unread_files=sum(len(part.members) for part in parts), unread_bytes=sum(part.size for part in parts))

    def tasks(self) -> list[Task]:
        """One task a shard."""
        return [
            Task(f"shard-{number:05d}", tuple(blocks), {"taken": taken, "dropped": dict(dropped)})
            for number, (blocks, taken, dropped) in enumerate(zip(self._blocks, self._taken, self._dropped))
        ]


def select_blocks(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: the documents of some blocks for which there is room, with the counts of reading them."""
    tally = Tally()
    room = Room(parameters["max_bytes"], parameters["max_language_bytes"], Counter(parameters["taken"]))
    with ShardWriter(beside(prefix, ".parquet")) as writer:
        for document in (document for path in inputs for document in read_documents(path)):
            rule = room.rule_against(document["language"], document["size"])
            if rule:
                tally.drop(rule, document["language"], document["size"])
            else:
                tally.keep(document["language"], document["size"])
                writer.write(document)
    tally.update(parameters["dropped"])
    return tally


def dropped_while_reading(counts: Mapping[str, int]) -> Counter[str]:
    """What a reading task dropped, with the documents and bytes it saw of these."""
    dropped = Counter({key: count for key, count in counts.items() if key.startswith("dropped:")})
    dropped["documents"] = counts.get("documents", 0) - counts.get("kept", 0)
    dropped["bytes"] = counts.get("bytes", 0) - counts.get("kept_bytes", 0)
    return dropped
