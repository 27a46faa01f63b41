"""Counts of a corpus stage: documents and bytes, in and kept, and every drop by rule and by rule and language."""

from __future__ import annotations

from collections import Counter


class Tally(Counter[str]):
    """Keys: documents, bytes, kept, kept_bytes, kept:LANGUAGE, kept_bytes:LANGUAGE, dropped:RULE, dropped:RULE:LANGUAGE."""

    def keep(self, language: str, size: int) -> None:
        """One document that goes on, of `size` bytes."""
        self.add("", language, 1, size)

    def drop(self, rule: str, language: str | None, size: int) -> None:
        """One document that `rule` drops; its language where it is known."""
        self.add(rule, language, 1, size)

    def add(self, rule: str, language: str | None, count: int, size: int) -> None:
        """`count` documents of `size` bytes together that go on (rule "") or that `rule` drops."""
        self["documents"] += count
        self["bytes"] += size
        if rule:
            self[f"dropped:{rule}"] += count
            if language:
                self[f"dropped:{rule}:{language}"] += count
            return
        self["kept"] += count
        self["kept_bytes"] += size
        self[f"kept:{language}"] += count
        self[f"kept_bytes:{language}"] += size
