"""Saves in the background: training goes on, at most one is under way, a failed one is loud and the next works."""

from __future__ import annotations

import errno
import os
import threading
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from megatron_snow.checkpoint import CheckpointStore
from megatron_snow.common.errors import UserError
from megatron_snow.common.records import read_json_lines
from megatron_snow.config import Workspace, load_recipe
from tests.resume.runs import model_files

CHANGES = ["training.async_save=true", "evaluation.held_out_sequences=0", "evaluation.benchmarks=[]", "training.keep_checkpoints=9"]
TWO = [*CHANGES, "parallel.processes=2", "parallel.distributed_optimizer=true"]


def train_slowly_written(recipe: Path, output: Path) -> int:
    """Pretrain where the last rank's first file is written only once step 5 begins; the most saves that were under way at once.

    Then the same run saving in place, in `output`/in_place.
    """
    import torch.distributed as dist

    from megatron_snow.engine import saving
    from megatron_snow.training.data import BatchReader
    from megatron_snow.training.pretrain import pretrain

    last, begun, most, lock = dist.get_rank() == dist.get_world_size() - 1, threading.Event(), [0, 0], threading.Lock()
    write, read = saving.write_part, BatchReader.read

    def write_late(*args: Any) -> Any:
        with lock:
            most[0] += 1
            most[1] = max(most)
        if last:
            assert begun.wait(60)
        written = write(*args)
        with lock:
            most[0] -= 1
        return written

    def read_and_tell(self: BatchReader, step: Any, *args: Any) -> Any:
        if step.number == 5:
            begun.set()
        return read(self, step, *args)

    with patch.object(saving, "write_part", write_late), patch.object(BatchReader, "read", read_and_tell):
        pretrain(load_recipe(recipe, [*TWO, "training.save_interval=3"]), Workspace(output))
    pretrain(load_recipe(recipe, [*TWO, "training.save_interval=3", "training.async_save=false"]), Workspace(output / "in_place"))
    return most[1]


def test_training_goes_on_while_a_rank_writes(workers, tiny_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Saves at steps 3, 5 (a phase's end), 6 and 8 (the end): the first is committed after step 5 has begun, before the next begins."""
    assert workers.run(2, train_slowly_written, tiny_run.recipe, tmp_path) == [1, 1]
    saves = list(read_json_lines(Workspace(tmp_path).saves))
    assert [line["step"] for line in saves] == [3, 5, 6, 8] == CheckpointStore(Workspace(tmp_path).checkpoints, 9).steps()
    assert saves[0]["committed_after_step"] == 5
    assert saves[-1]["committed_after_step"] == 8
    for line in saves:
        assert line["background"]
        assert line["stall_seconds"] > 0
        files = CheckpointStore(Workspace(tmp_path).checkpoints, 9).at(line["step"]).model.glob("*.distcp")
        assert model_files(tmp_path, line["step"]) == model_files(tmp_path / "in_place", line["step"])  # not the weights of steps since
        assert line["tensor_bytes"] == sum(path.stat().st_size for path in files)


def train_with_failing_writes(recipe: Path, output: Path, failing: list[int], changes: list[str]) -> tuple[str, str]:
    """Pretrain where the last rank's writes of these numbers find the disk full; (stderr, what ended it)."""
    import torch.distributed as dist

    from megatron_snow.engine import saving
    from megatron_snow.training.pretrain import pretrain

    last, count, write = dist.get_rank() == dist.get_world_size() - 1, [0], saving.write_part

    def write_or_not(*args: Any) -> Any:
        count[0] += 1
        if last and count[0] in failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(*args)

    told = StringIO()
    with patch.object(saving, "write_part", write_or_not), redirect_stderr(told):
        try:
            pretrain(load_recipe(recipe, [*TWO, *changes]), Workspace(output))
        except (OSError, SystemExit, UserError) as error:
            return told.getvalue(), f"{type(error).__name__}: {error}"
    return told.getvalue(), ""


@pytest.mark.parametrize("in_background", [True, False])
def test_a_lost_save_is_loud_and_the_next_works(workers, tiny_run, tmp_path: Path, in_background: bool) -> None:  # type: ignore[no-untyped-def]
    """Saves after steps 2, 4, 5, 6 and 8: the second and the third fail."""
    changes = [f"training.async_save={str(in_background).lower()}"]
    (told, end), (silent, other_end) = workers.run(2, train_with_failing_writes, tiny_run.recipe, tmp_path, [2, 3], changes)
    assert (end, other_end, silent) == ("", "", "")
    store = CheckpointStore(Workspace(tmp_path).checkpoints, 9)
    for step in (4, 5):
        assert f"WARNING: {store.folder(step)} was not saved: [Errno 28] No space left on device; training goes on" in told
    assert store.steps() == [2, 6, 8]
    assert store.at(8).step == 8
    assert [(line["step"], "lost" in line) for line in read_json_lines(Workspace(tmp_path).saves)] == [
        (2, False), (4, True), (5, True), (6, False), (8, False),
    ]  # fmt: skip
    assert not [path for path in store.root.iterdir() if path.name.endswith(".partial")]


def test_a_run_that_cannot_save_its_end_says_so(workers, tiny_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    ends = workers.run(2, train_with_failing_writes, tiny_run.recipe, tmp_path, [5], [])
    assert ends[0][1].startswith("OSError: [Errno 28]")
    assert ends[1][1].startswith("SystemExit")
    assert CheckpointStore(Workspace(tmp_path).checkpoints, 9).steps() == [2, 4, 5, 6]
