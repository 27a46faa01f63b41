"""Progress bars with a rate and the time left, for everything that takes over two seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

# A log file gets a line now and then, a terminal a live bar.
_LOG_INTERVAL_SECONDS = 15.0


def _options(label: str, unit: str) -> dict[str, Any]:
    live = sys.stderr.isatty()
    return {
        "desc": f"{label:<24}",
        "unit": unit,
        "mininterval": 0.3 if live else _LOG_INTERVAL_SECONDS,
        "ascii": not live,
        "dynamic_ncols": live,
        "unit_scale": unit in {"B", "tok"},
    }


def progress(items: Iterable[Item], *, label: str, unit: str, total: int | None = None) -> Iterator[Item]:
    """Yield `items` under a bar that counts them in `unit`."""
    return iter(tqdm(items, total=total, **_options(label, unit)))


def say(text: str, *, error: bool = False) -> None:
    """Print a line on stdout or stderr, above the bars that are shown."""
    file = sys.stderr if error else sys.stdout
    tqdm.write(text, file=file)
    file.flush()


@contextmanager
def progress_bar(total: float | None, *, label: str, unit: str, initial: float = 0) -> Iterator[tqdm[Any]]:
    """A bar to `update(n)` by hand; units 'B' and 'tok' are scaled (MB/s, ktok/s)."""
    with tqdm(total=total, initial=initial, **_options(label, unit)) as bar:
        yield bar
