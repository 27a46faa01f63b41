"""What a manifest says of languages with too few repositories to hold out whole ones."""

from __future__ import annotations

from collections.abc import Mapping

SPLIT_BY = "split_by_"  # + LEVEL:LANGUAGE, a count: the repositories of a language that is split by something finer


def finer_splits(counts: Mapping[str, int]) -> list[str]:
    """ "Perl: by folder (2 repositories)" for each language that is not split by repository."""
    found = []
    for name, repositories in sorted(counts.items()):
        if name.startswith(SPLIT_BY):
            level, _, language = name.removeprefix(SPLIT_BY).partition(":")
            found.append(f"{language}: by {level} ({repositories} {'repository' if repositories == 1 else 'repositories'})")
    return sorted(found)
