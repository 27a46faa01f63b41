"""Seeds: top-scored documents by the recipe's language shares, some lines of each (paper 2.4).

The documents are those that the annotator selected for phase 2 ("code documents scored in the top
percentile during the continued pretraining phase").
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from megatron_snow.common.checksums import text_digest
from megatron_snow.common.errors import UserError
from megatron_snow.common.shares import apportion
from megatron_snow.pipeline import read_documents


@dataclass(frozen=True)
class Seed:
    """What a model is shown of a document. `number` tells several requests on one document apart."""

    id: str
    language: str
    licence: str
    path: str
    text: str
    number: int


def choose_seeds(shards: Sequence[Path], shares: Mapping[str, float], count: int, size: int, seed: int) -> list[Seed]:
    """`count` seeds in proportion to the language shares: each document once in a seeded order, then again with other lines.

    UserError when no document is of these languages; a language without documents leaves its share to the others.
    """
    by_language: dict[str, list[dict[str, str]]] = {}
    for shard in shards:
        for row in read_documents(shard, ["id", "language", "licence", "path", "content"]):
            by_language.setdefault(row["language"], []).append(row)
    quotas = language_shares(shares, {language: sum(len(row["content"]) for row in rows) for language, rows in by_language.items()})
    if not quotas:
        raise UserError(
            f"synthesis.languages: no selected document is in {', '.join(shares)}; "
            f"{shards[0].parent} has {', '.join(sorted(by_language)) or 'no documents'}"
        )
    seeds = []
    for language, quota in apportion(count, quotas).items():
        rows = sorted(by_language[language], key=lambda row: text_digest(f"{seed}:seed:{row['id']}"))
        for number in range(quota):
            row, turn = rows[number % len(rows)], number // len(rows)
            text = cut_lines(row["content"], size, random.Random(f"{seed}:{row['id']}:{turn}"))
            seeds.append(Seed(row["id"], language, row["licence"], row["path"], text, turn))
    return seeds


def language_shares(targets: Mapping[str, float], sizes: Mapping[str, int]) -> dict[str, float]:
    """Targets of the languages that are there; what targets leave of one goes to the other languages in proportion to `sizes`."""
    shares = {language: share for language, share in sorted(targets.items()) if share > 0 and sizes.get(language)}
    others = {language: size for language, size in sorted(sizes.items()) if size and language not in targets}
    rest = 1.0 - sum(targets.values())
    if rest > 1e-9 and others:
        shares |= {language: rest * size / sum(others.values()) for language, size in others.items()}
    return shares


def cut_lines(text: str, size: int, choice: random.Random) -> str:
    """Whole lines of at most `size` UTF-8 bytes, from a random top-level line (not indented, after an empty line) or the top.

    The top of a file is mostly licence and imports; what follows an empty line begins a thought. A first line that is
    longer than `size` is cut.
    """
    lines = text.splitlines()
    starts = [n for n in range(1, len(lines)) if not lines[n - 1].strip() and lines[n][:1].strip()] or [0]
    taken, used = [], 0
    for line in lines[choice.choice(starts) :]:
        used += len(line.encode("utf-8", "surrogatepass")) + 1
        if used > size:
            break
        taken.append(line)
    return "\n".join(taken).strip("\n") or text.encode("utf-8", "ignore")[:size].decode("utf-8", "ignore")
