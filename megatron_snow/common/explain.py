"""--explain: say what would run and why, and run nothing. Whatever is about to begin work asks here first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_SHOWN = 10  # reasons that are told one by one

_EXPLAINING = ContextVar("explaining", default=False)


class WouldRun(Exception):
    """Raised in place of running: what follows reads what this has yet to write."""

    def __init__(self, what: str, output: Path, reasons: Sequence[str]) -> None:
        shown = [f"  {reason}" for reason in reasons[:_SHOWN]]
        if len(reasons) > _SHOWN:
            shown.append(f"  and {len(reasons) - _SHOWN:,} more tasks")
        super().__init__("\n".join([f"{output}: {what} would run, and all that reads its output", *shown]))


@contextmanager
def explaining(on: bool = True) -> Iterator[None]:
    """Within, everything is explained and nothing runs."""
    token = _EXPLAINING.set(on)
    try:
        yield
    finally:
        _EXPLAINING.reset(token)


def is_explaining() -> bool:
    """Whether nothing may run or be written now."""
    return _EXPLAINING.get()


def before_running(what: str, output: Path, *reasons: str) -> None:
    """WouldRun within `explaining`, nothing otherwise."""
    if is_explaining():
        raise WouldRun(what, output, reasons)
