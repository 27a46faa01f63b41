"""Real files with copies of which some lines are changed, and what deduplication leaves of them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from megatron_snow.pipeline import read_documents, shards_in


def edited(text: str, share: float, seed: int) -> str:
    """The text with that share of its lines changed."""
    lines = text.splitlines()
    for number in random.Random(seed).sample(range(len(lines)), int(share * len(lines))):
        lines[number] = f"changed_{seed}_{number} = {number}"
    return "\n".join(lines)


def near_copies(folder: Path, count: int) -> list[str]:
    """`count` files of 2 kB and more below a folder, then of each three copies edited by 1, 5 and 20 %."""
    originals = [path.read_text() for path in sorted(folder.rglob("*.py")) if path.stat().st_size > 2000][:count]
    return originals + [edited(text, share, seed) for seed, text in enumerate(originals) for share in (0.01, 0.05, 0.2)]


def survivors(folder: Path) -> list[dict[str, Any]]:
    """The documents that stayed, by repository and path."""
    return sorted((row for shard in shards_in(folder) for row in read_documents(shard)), key=lambda row: (row["repository"], row["path"]))
