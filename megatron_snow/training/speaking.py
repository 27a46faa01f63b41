"""A mistake that all ranks find is said once: one rank speaks, the others end without a word, after it."""

from __future__ import annotations

import os
import time
from typing import NoReturn

from megatron_snow.common.errors import EXIT_USER_ERROR

# torchrun ends all ranks at the first that fails, so the speaker must be the first: it needs milliseconds to say it.
_HEAD_START_SECONDS = 3.0


def speaks_for_machine() -> bool:
    """Whether this is the first rank of its machine; the only one, without torchrun."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def fall_silent() -> NoReturn:
    """End this rank with exit code 2, for another one says why."""
    time.sleep(_HEAD_START_SECONDS)
    raise SystemExit(EXIT_USER_ERROR)
