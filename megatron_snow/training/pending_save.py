"""A save between its beginning and its commit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from megatron_snow.engine import Engine, Save
from megatron_snow.training.phases import Step


@dataclass
class PendingSave:
    """What is being written of the state after `step`."""

    step: Step
    save: Save
    writing: Future[None] | None = None  # None: nobody writes until `wait`
    stall_seconds: float = 0.0  # that training stood still
    write_seconds: float = 0.0

    def write(self) -> None:
        """Write this rank's part, timed."""
        start = time.perf_counter()
        self.save.write()
        self.write_seconds = time.perf_counter() - start

    @property
    def is_written(self) -> bool:
        """Whether this rank has written its part, well or not."""
        return self.writing is not None and self.writing.done()

    def wait(self) -> None:
        """Until this rank's part is written."""
        if self.writing is None:
            self.write()
        else:
            self.writing.result()

    def line(self, committed_after: int, files: Mapping[str, tuple[str, int]]) -> dict[str, Any]:
        """What saves.jsonl says of it."""
        return {
            "step": self.step.number,
            "committed_after_step": committed_after,
            "background": self.writing is not None,
            "stall_seconds": round(self.stall_seconds, 4),
            "write_seconds": round(self.write_seconds, 4),  # of the main rank
            "tensor_bytes": sum(size for _digest, size in files.values()),  # of all ranks
        }


def on_main(engine: Engine, act: Callable[[], object]) -> None:
    """Do something on the main rank; its OSError is raised on all."""
    failure = None
    if engine.is_main:
        try:
            act()
        except OSError as error:
            failure = error.errno, error.strerror, str(error.filename or "")
    failure = engine.broadcast(failure)
    if failure is not None:
        raise OSError(*failure)
