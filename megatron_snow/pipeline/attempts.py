"""What a task gave, carried from where it ran to where the run is led: a result, or the exception as itself."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from megatron_snow.common.errors import UserError


class Attempt(NamedTuple):
    """The result of one item, or why there is none."""

    result: Any
    error: Exception | None


def attempt(function: Callable[[Any], Any], item: Any) -> Attempt:
    """Call the function; an exception becomes a value, as executors change those that are raised into their own."""
    try:
        return Attempt(function(item), None)
    except Exception as error:
        return Attempt(None, _portable(error))


def _portable(error: Exception) -> Exception:
    """The exception with the trace that does not travel with it; one that does not pickle becomes a RuntimeError."""
    trace = "".join(traceback.format_exception(error))
    if not isinstance(error, UserError):
        error.add_note(f"where it ran:\n{trace}")
    try:
        pickle.loads(pickle.dumps(error))  # some fail on the way back: their __init__ wants more than their args
    except Exception:
        return RuntimeError(trace)
    return error
