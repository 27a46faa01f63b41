"""SPDX's identifiers, as the package license-expression lists them."""

from __future__ import annotations

from functools import cache

from license_expression import get_license_index


@cache
def spdx_identifiers() -> dict[str, str]:
    """SPDX's licences and exceptions: lower case -> the identifier. ScanCode's own, LicenseRef-..., are left out."""
    keys = (entry["spdx_license_key"] for entry in get_license_index())
    return {key.lower(): key for key in keys if key and not key.startswith("LicenseRef-")}
