"""The files of lines: what a resumed run forgets and what it keeps."""

from __future__ import annotations

from pathlib import Path

from megatron_snow.training.metrics import StepLog


def test_opening_after_a_step_forgets_what_came_later(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = StepLog(path, 0)
    for step in range(1, 6):
        log.write({"step": step, "loss": 1.0 / step})
    log.close()
    with open(path, "a") as file:
        file.write('{"step": 6, "lo')  # cut by a kill
    log = StepLog(path, 3)
    log.write({"step": 4, "loss": 0.1 + 0.2})
    log.close()
    assert path.read_text().splitlines() == [
        '{"step": 1, "loss": 1.0}',
        '{"step": 2, "loss": 0.5}',
        '{"step": 3, "loss": 0.3333333333333333}',
        '{"step": 4, "loss": 0.30000000000000004}',
    ]


def test_a_fresh_start_empties_the_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 2.0}\n')
    StepLog(path, 0).close()
    assert path.read_text() == ""
