"""Permissive, copyleft, unlicensed or unknown: what an SPDX expression allows, by ScanCode's and Blue Oak's lists."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache

from license_expression import get_license_index

from megatron_snow.config.schema import LicenceKind
from megatron_snow.corpus.licences.expressions import is_expression, is_operator, tokens_of

# ScanCode LicenseDB's categories (in the package license-expression), as The Stack v2 reads them.
_KINDS: dict[str, LicenceKind] = {
    "Permissive": "permissive", "Public Domain": "permissive", "Copyleft": "copyleft", "Copyleft Limited": "copyleft",
}  # fmt: skip

# Permissive by the Blue Oak Council's list, version 15, which The Stack v2 joins to ScanCode's (arXiv 2402.19173, 2.1.2);
# every other licence of that list is permissive for ScanCode too.
_BLUE_OAK = (
    "Artistic-1.0", "Artistic-1.0-Perl", "Artistic-1.0-cl8", "Artistic-2.0", "BSD-3-Clause-No-Nuclear-License-2014",
    "BSD-3-Clause-No-Nuclear-Warranty", "ClArtistic", "HPND-export-US", "LPL-1.0", "LPL-1.02", "LPPL-1.3c", "NASA-1.3", "NBPL-1.0",
    "OGTSL", "OLDAP-1.1", "OLDAP-1.2", "OLDAP-1.3", "OLDAP-1.4", "Qhull", "Ruby", "Vim",
)  # fmt: skip

_RANKS: tuple[LicenceKind, ...] = ("unknown", "copyleft", "permissive")  # least permissive first
_MOST = len(_RANKS) - 1


@lru_cache(1 << 16)
def kind_of(licence: str) -> LicenceKind:
    """The kind of an SPDX expression: of OR the most permissive part, of AND the least.

    "unlicensed" is "" alone; "unknown" is what names no licence that the lists know as permissive or copyleft: free words,
    a proprietary licence, npm's UNLICENSED.
    """
    if not licence.strip():
        return "unlicensed"
    tokens = tokens_of(licence)
    return _RANKS[_rank(tokens)] if is_expression(tokens) else "unknown"


def _rank(tokens: Sequence[str]) -> int:
    """Of an expression. For each open bracket: the best of its choices, and the worst of what the present one joins."""
    best, worst, before = [0], [_MOST], ""
    for token in tokens:
        if token == "(":
            best.append(0)
            worst.append(_MOST)
        elif token == ")":
            inner = max(best.pop(), worst.pop())
            worst[-1] = min(worst[-1], inner)
        elif token.upper() == "OR":
            best[-1], worst[-1] = max(best[-1], worst[-1]), _MOST
        elif not is_operator(token) and before != "WITH":  # an exception only adds to what is allowed
            worst[-1] = min(worst[-1], _rank_of_name(token.lower()))
        before = token.upper()
    return max(best[-1], worst[-1])


def _rank_of_name(name: str) -> int:
    return _RANKS.index(_kinds().get(name) or _kinds().get(name.removesuffix("+"), "unknown"))  # "or later" of any licence


@cache
def _kinds() -> dict[str, LicenceKind]:
    kinds: dict[str, LicenceKind] = {}
    for entry in get_license_index():
        for key in (entry["license_key"], entry["spdx_license_key"], *entry["other_spdx_license_keys"]):
            if key and entry["category"] in _KINDS:
                kinds[key.lower()] = _KINDS[entry["category"]]
    return kinds | {key.lower(): "permissive" for key in _BLUE_OAK}
