"""Stage functions that worker processes can import: the folder is put on sys.path by the tests."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def upper(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """The inputs' text in capitals, and an ending; slow on demand."""
    time.sleep(parameters.get("seconds", 0))
    text = "".join(path.read_text() for path in inputs).upper() + parameters.get("ending", "")
    prefix.with_name(prefix.name + ".txt").write_text(text)
    return {"characters": len(text)}


def fail_on_b(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Write half of an output, then fail on the input b."""
    prefix.with_name(prefix.name + ".txt").write_text("half")
    if inputs[0].stem == "b":
        raise ValueError("b is bad")
    return {}


def die(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """What the kernel does to a process when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)
    return {}
