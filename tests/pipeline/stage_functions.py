"""Stage functions that worker processes can import: the folder is put on sys.path by the tests."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from megatron_snow.common.errors import UserError


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


def noted(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """`upper`, with a line in a file for each time that it begins."""
    with open(parameters["notes"], "a", encoding="utf-8") as notes:
        notes.write(f"{inputs[0].stem}\n")
    return upper(inputs, prefix, parameters)


def fail_with(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Fail on the input b as the parameter says; the others take a while."""
    if inputs[0].stem != "b":
        return upper(inputs, prefix, parameters)
    if parameters["error"] == "user":
        raise UserError("the licence is missing; name one")
    if parameters["error"] == "unpicklable":
        raise Unpicklable("two", "values")
    raise ZeroDivisionError("b is bad")


class Unpicklable(Exception):
    """Its args are not what its __init__ takes, so it does not come back from a pickle."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} {two}")


def die_once(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Killed as the kernel kills when memory runs out, on the input b."""
    if inputs[0].stem == "b":
        print("the last words of b", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    return upper(inputs, prefix, parameters)
