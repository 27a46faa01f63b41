"""Files of lines with a step: metrics.jsonl (a line a step), held_out.jsonl (a line a phase); trackers hear each line too."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from megatron_snow.common.files import atomic_file
from megatron_snow.common.records import read_json_lines
from megatron_snow.training.loop import Callback, StepDone
from megatron_snow.training.telemetry import Figures
from megatron_snow.training.tracking import Tracker


class StepLog:
    """A JSONL file whose lines carry a `step`. Opened at step N it forgets what was written after N.

    So the file of a run that was killed and resumed holds the lines of an unbroken one.
    """

    def __init__(self, path: Path, after_step: int, trackers: Sequence[Tracker] = ()) -> None:
        """`trackers`: who else gets each line, under the file's name."""
        self._name, self._trackers = path.stem, trackers
        lines = list(read_json_lines(path)) if path.is_file() else []
        with atomic_file(path) as file:
            file.writelines(json.dumps(line) + "\n" for line in lines if line["step"] <= after_step)
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 closed by close()

    def write(self, line: dict[str, Any]) -> None:
        """Append a line; a reader sees it at once."""
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        for tracker in self._trackers:
            tracker.write(self._name, line)

    def sync(self) -> None:
        """Force the lines to the disk, before the checkpoint that counts on them."""
        os.fsync(self._file.fileno())
        for tracker in self._trackers:
            tracker.flush()

    def close(self) -> None:
        self._file.close()


class MetricsWriter(Callback):
    """A line a step."""

    def __init__(self, log: StepLog, figures: Figures) -> None:
        self._log, self._figures = log, figures

    def on_step(self, done: StepDone) -> None:
        self._log.write(self._figures.line(done))

    def close(self) -> None:
        self._log.close()
