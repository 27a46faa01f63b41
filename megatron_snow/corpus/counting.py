"""Counts of a corpus stage: documents and bytes, in and kept, and every drop by rule and by rule and language."""

from __future__ import annotations

from collections import Counter


class Tally(Counter[str]):
    """Keys: documents, bytes, kept, kept_bytes, kept:LANGUAGE, kept_bytes:LANGUAGE, dropped:RULE, dropped:RULE:LANGUAGE."""

    def keep(self, language: str, size: int) -> None:
        """One document that goes on, of `size` bytes."""
        self._see(size)
        self["kept"] += 1
        self["kept_bytes"] += size
        self[f"kept:{language}"] += 1
        self[f"kept_bytes:{language}"] += size

    def drop(self, rule: str, language: str | None, size: int) -> None:
        """One document that `rule` drops; its language where it is known."""
        self._see(size)
        self[f"dropped:{rule}"] += 1
        if language:
            self[f"dropped:{rule}:{language}"] += 1

    def _see(self, size: int) -> None:
        self["documents"] += 1
        self["bytes"] += size
