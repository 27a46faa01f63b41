"""The limits of a corpus: in all, of each language in it and of each repository.

With a limit, blocks are read in rounds until the corpus is full; then one pass over their documents,
in order, keeps what there is room for. A round depends on what was read before it, never on the
number of workers, so neither does the result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from megatron_snow.common.files import beside
from megatron_snow.common.records import read_json
from megatron_snow.corpus.collection import SHARD_BYTES, read_listing
from megatron_snow.corpus.counting import Tally
from megatron_snow.corpus.language import languages_by_name
from megatron_snow.corpus.left_out import join_left_out
from megatron_snow.corpus.outcome import REJECTS
from megatron_snow.corpus.sources import Part
from megatron_snow.pipeline import RECORD, ShardWriter, Task, batches_of, read_table

LIMITS = ("max_bytes", "max_language_bytes", "max_repository_bytes")
_LIMITED = ("language", "size", "repository")  # the columns that limits look at
_MIN_ROUND_BYTES = 4 * SHARD_BYTES  # work enough that the start of a pool of processes does not matter


@dataclass
class Room:
    """How much the corpus still takes: in all, of each language and of each repository (0: no limit of its own)."""

    max_bytes: int
    max_language_bytes: int
    max_repository_bytes: int = 0
    taken: Counter[str] = field(default_factory=Counter)  # language -> bytes
    repositories: Counter[str] = field(default_factory=Counter)  # repository -> bytes, where they have a limit

    @property
    def limits(self) -> dict[str, int]:
        """As parameters of `select_blocks`."""
        return {name: getattr(self, name) for name in LIMITS}

    @property
    def left(self) -> int:
        """Bytes until the corpus is full."""
        return max(0, self.max_bytes - self.taken.total())

    def full_languages(self) -> list[str]:
        """Languages within 1 % of their share: filling the rest would mean reading very many files for small ones."""
        full = 0.99 * self.max_language_bytes
        return sorted(language for language, taken in self.taken.items() if full and taken >= full)

    def rule_against(self, language: str, size: int, repository: str = "") -> str:
        """Take a document of that language, size and repository (""), or name the rule that has no room for it."""
        if not self.left:
            return "max_bytes"
        if self.max_language_bytes and self.taken[language] + size > self.max_language_bytes:
            return "language_share"
        if self.max_repository_bytes:
            if self.repositories[repository] + size > self.max_repository_bytes:
                return "repository_share"
            self.repositories[repository] += size
        self.taken[language] += size
        return ""

    def rules_against(self, documents: pa.Table) -> list[str]:
        """A rule or "" for each document of a table, taking those with "" in turn."""
        columns = (documents[name].to_pylist() for name in _LIMITED)
        return [self.rule_against(language, size, repository) for language, size, repository in zip(*columns)]


def next_round(listing: Sequence[Path], start: int, room: Room, languages: Collection[str] = ()) -> int:
    """The end of a round of blocks from `start`: as many bytes as there is room for, of languages that are not full."""
    enough = max(room.left, _MIN_ROUND_BYTES)
    full = set(room.full_languages())
    wanted = 0
    for number in range(start, len(listing)):
        wanted += sum(_unread_bytes(part, full, frozenset(languages)) for part in read_listing(listing[number]))
        if wanted >= enough:
            return number + 1
    return len(listing)


def _unread_bytes(part: Part, full: set[str], languages: frozenset[str]) -> int:
    if part.kind != "files":
        return part.size
    return sum(member.size for member in part.members if not full.issuperset(languages_by_name(member.path, languages) or {""}))


class Selection:
    """Blocks as they are read, packed into tasks of `select_blocks` that give shards of about SHARD_BYTES."""

    def __init__(self, room: Room, dropped: Counter[str]) -> None:
        self.room = room
        self._before = dropped  # before anything was read
        self._blocks: list[list[Path]] = []
        self._taken: list[dict[str, int]] = []  # before each task, by language
        self._repositories: list[dict[str, int]] = []  # before each task, of the repositories in it
        self._dropped: list[Counter[str]] = []  # while reading its blocks

    def add(self, shard: Path) -> None:
        """Take a block's documents, in order, as `select_blocks` will."""
        taken = self.room.taken
        if not self._blocks or taken.total() - sum(self._taken[-1].values()) >= SHARD_BYTES:
            self._blocks.append([])
            self._taken.append(dict(taken))
            self._repositories.append({})
            self._dropped.append(self._before if not self._dropped else Counter())
        self._blocks[-1].append(shard)
        self._dropped[-1] += dropped_while_reading(read_json(shard.with_name(shard.stem + RECORD))["counts"])
        documents = read_table(shard, _LIMITED)
        if self.room.max_repository_bytes:
            for repository in documents["repository"].unique().to_pylist():
                self._repositories[-1].setdefault(repository, self.room.repositories[repository])
        self.room.rules_against(documents)

    def add_unread(self, listing: Sequence[Path]) -> None:
        """Count what lies in blocks that the full corpus left unread."""
        parts = [part for path in listing for part in read_listing(path)]
        self._dropped[-1] += Counter(unread_files=sum(len(part.members) for part in parts), unread_bytes=sum(part.size for part in parts))

    def tasks(self) -> list[Task]:
        """One task a shard."""
        described = zip(self._blocks, self._taken, self._repositories, self._dropped)
        return [
            Task(f"shard-{number:05d}", tuple(blocks), {"taken": taken, "repositories": repositories, "dropped": dict(dropped)})
            for number, (blocks, taken, repositories, dropped) in enumerate(described)
        ]


def select_blocks(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: the documents of some blocks for which there is room, with the counts of reading them."""
    tally = Tally()
    taken, repositories = Counter(parameters["taken"]), Counter(parameters["repositories"])
    room = Room(**{name: parameters[name] for name in LIMITS}, taken=taken, repositories=repositories)
    with ShardWriter(beside(prefix, ".parquet")) as writer:
        for batch in (batch for path in inputs for batch in batches_of(path)):
            rules = room.rules_against(batch)
            for rule, language, size in zip(rules, batch["language"].to_pylist(), batch["size"].to_pylist()):
                tally.add(rule, language, 1, size)
            writer.write_table(batch.filter(pa.array([not rule for rule in rules], pa.bool_())))
    tally.update(parameters["dropped"])
    join_left_out([path.with_name(path.stem + REJECTS) for path in inputs], beside(prefix, REJECTS))
    return tally


def dropped_while_reading(counts: Mapping[str, int]) -> Counter[str]:
    """What a reading task dropped, with the documents and bytes it saw of these."""
    dropped = Counter({key: count for key, count in counts.items() if key.startswith("dropped:")})
    dropped["documents"] = counts.get("documents", 0) - counts.get("kept", 0)
    dropped["bytes"] = counts.get("bytes", 0) - counts.get("kept_bytes", 0)
    return dropped
