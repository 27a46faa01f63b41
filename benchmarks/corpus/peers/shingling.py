"""What the libraries without a pipeline of their own are given: JSONL in, 5-grams of `\\w+` words, clusters out."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator

WORD = re.compile(r"\w+")
PERMUTATIONS, BANDS, ROWS, THRESHOLD, NGRAM = 250, 25, 10, 0.7, 5


def documents() -> Iterator[str]:
    with open(sys.argv[1], encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)["content"]


def shingles(text: str) -> list[str]:
    words = WORD.findall(text)
    return list({" ".join(words[start : start + NGRAM]) for start in range(max(1, len(words) - NGRAM + 1))})


class Sets:
    """Union-find."""

    def __init__(self, count: int) -> None:
        self.parent = list(range(count))

    def find(self, item: int) -> int:
        while self.parent[item] != item:
            self.parent[item] = self.parent[self.parent[item]]
            item = self.parent[item]
        return item

    def join(self, a: int, b: int) -> None:
        a, b = self.find(a), self.find(b)
        self.parent[max(a, b)] = min(a, b)

    def write(self) -> None:
        with open(sys.argv[2], "w", encoding="utf-8") as file:
            json.dump([self.find(item) for item in range(len(self.parent))], file)
