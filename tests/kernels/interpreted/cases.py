"""Six random cases an op and dtype in `make test`, forty in `make test-slow`; the seed is in the test's name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.kernels.interpreted.oracle import DTYPES, Draw


def every_case(test: Callable[[Draw], None]) -> Any:
    """Run test(draw) for each."""
    cases = [
        pytest.param(Draw(seed, dtype), id=f"{str(dtype)[6:]}-seed{seed}", marks=[pytest.mark.slow] if seed >= 6 else [])
        for dtype in DTYPES
        for seed in range(40)
    ]
    return pytest.mark.parametrize("draw", cases)(test)
