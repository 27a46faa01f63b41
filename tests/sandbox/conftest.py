"""The attacks need the real sandbox."""

from __future__ import annotations

import pytest

from megatron_snow.sandbox import available


@pytest.fixture(scope="session", autouse=True)
def _sandbox() -> None:
    works, reason = available()
    if not works:
        pytest.skip(reason)
