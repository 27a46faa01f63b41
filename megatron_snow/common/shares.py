"""Whole numbers in proportion to shares."""

from __future__ import annotations

from collections.abc import Mapping


def apportion(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers in proportion to `shares`, together `total` (largest remainder, ties by name)."""
    whole = sum(shares.values())
    exact = {name: total * share / whole for name, share in shares.items()}
    parts = {name: int(value) for name, value in exact.items()}
    for name in sorted(exact, key=lambda name: (parts[name] - exact[name], name))[: total - sum(parts.values())]:
        parts[name] += 1
    return parts
