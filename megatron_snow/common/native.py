"""The compiled helpers of csrc/data (plain C ABI), or None with the reason."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path


@cache
def load_native() -> tuple[ctypes.CDLL | None, str]:
    """(library, "") where it is built, else (None, why not and how to get it)."""
    paths = sorted(Path(__file__).parent.parent.glob("_data*.so"))
    if not paths:
        return None, "csrc/data is not built: install g++ and run `pip install -e .` again"
    try:
        return ctypes.CDLL(str(paths[0])), ""
    except OSError as error:
        return None, f"{paths[0].name} does not load: {error}"
