"""TensorBoard's files and Weights & Biases: every step once, over tokens, also where a run was broken off and resumed."""

from __future__ import annotations

import shutil
import struct
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from megatron_snow.common.errors import UserError
from megatron_snow.common.records import read_json_lines
from megatron_snow.config import Workspace, load_recipe
from megatron_snow.training import prepare
from megatron_snow.training.pretrain import pretrain
from megatron_snow.training.telemetry_options import Monitoring, check_monitoring
from megatron_snow.training.tracking import TensorBoard, open_trackers

QUICK = ["evaluation={benchmarks: [], held_out_sequences: 2}"]


def events(folder: Path) -> Iterator[Event]:
    """All events in the order of the files' names, as TensorBoard reads them: length, its checksum, the event, its checksum."""
    for path in sorted(folder.iterdir()):
        content, place = path.read_bytes(), 0
        while place < len(content):
            (length,) = struct.unpack_from("<Q", content, place)
            yield Event.FromString(content[place + 12 : place + 12 + length])
            place += length + 16


def shown(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows: a start takes back all that its step or later ones had."""
    tags: dict[str, list[tuple[int, float]]] = {}
    for event in events(folder):
        if event.session_log.status == SessionLog.START:
            tags = {tag: [point for point in points if point[0] < event.step] for tag, points in tags.items()}
        for value in event.summary.value:
            tags.setdefault(value.tag, []).append((event.step, value.simple_value))
    return tags


def single(value: float) -> float:
    return struct.unpack("f", struct.pack("f", value))[0]


def test_tensorboard_shows_each_step_once(tiny_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """The checkpoint of step 5 is lost: the run goes on from step 4, and does what it had written again."""
    output, recipe = Workspace(tmp_path), load_recipe(tiny_run.recipe, QUICK)
    assert pretrain(recipe, output, until_phase="first") == 5
    shutil.rmtree(output.checkpoints / "step-00000005")
    assert pretrain(recipe, output) == 8
    assert len(list(output.tensorboard.iterdir())) == 2
    written = [event.step for event in events(output.tensorboard) if any(value.tag == "metrics/loss" for value in event.summary.value)]
    assert written == [128, 256, 384, 512, 640, 640, 768, 896, 1024]
    tags, lines = shown(output.tensorboard), list(read_json_lines(output.metrics))
    for name in ("loss", "lr", "grad_norm", "data_wait", "mfu_full"):
        assert tags[f"metrics/{name}"] == [(line["tokens"], single(line[name])) for line in lines]
    held_out = list(read_json_lines(output.held_out_metrics))
    expected = [(line["tokens"], single(line["losses"]["Python"])) for line in held_out]
    assert tags["held_out/losses/Python"] == expected
    assert "wandb" not in sys.modules


def test_lines_are_on_the_disk_before_a_checkpoint_counts_on_them(tmp_path: Path) -> None:
    tracker = TensorBoard(tmp_path, 0)
    tracker.write("metrics", {"step": 1, "tokens": 128, "phase": "first", "loss": 6.5, "losses": {"C": 2.0}})
    tracker.flush()
    assert shown(tmp_path) == {"metrics/loss": [(128, 6.5)], "metrics/losses/C": [(128, 2.0)]}
    tracker.close()


def test_without_tensorboard_a_run_goes_on(tiny_run, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:  # type: ignore[no-untyped-def]
    run = prepare(load_recipe(tiny_run.recipe, QUICK), Workspace(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "tensorboardX" else find_spec(name))
    assert open_trackers(run, 0, None) == []
    assert capsys.readouterr().out == "no TensorBoard files: pip install tensorboardX\n"


def test_weights_and_biases_must_be_installed(tiny_run, tmp_path: Path, monkeypatch: Any) -> None:  # type: ignore[no-untyped-def]
    run = prepare(load_recipe(tiny_run.recipe, QUICK), Workspace(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "wandb" else find_spec(name))
    with pytest.raises(UserError, match=r"--wandb mine: .* pip install 'megatron-snow\[wandb\]'"):
        check_monitoring(Monitoring(wandb="mine"), run)


# What of W&B's interface is used, as its documentation describes it; the boundary that a test cannot cross is its server.
STAND_IN = """
calls = []
class Run:
    def __init__(self, id): self.id = id or "new-id"
    def define_metric(self, name, **options): calls.append(("define", name, options))
    def log(self, values, step): calls.append(("log", step, values))
    def finish(self): calls.append(("finish",))
def init(**options):
    calls.append(("init", options))
    return Run(options["id"])
"""


def test_weights_and_biases_go_on_with_the_same_run(tiny_run, tmp_path: Path, monkeypatch: Any) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "wandb.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "modules", {name: module for name, module in sys.modules.items() if name != "wandb"})
    import wandb

    run = prepare(load_recipe(tiny_run.recipe, QUICK), Workspace(tmp_path / "out"))
    for done in (0, 4, 0):
        *_, tracker = open_trackers(run, done, "mine")
        tracker.write("metrics", {"step": done + 1, "tokens": 128, "phase": "first", "loss": 6.5})
        tracker.write("downstream", {"step": done, "tokens": 64, "pass_at_1": {"humaneval": 0.5}})  # W&B would drop an earlier step
        tracker.close()
    inits = [call[1] for call in wandb.calls if call[0] == "init"]
    assert [options["id"] for options in inits] == [None, "new-id", None]  # nothing kept: another run
    assert inits[0]["project"] == "mine"
    assert inits[0]["config"]["seed"] == 7
    assert ("define", "downstream/*", {"step_metric": "downstream/tokens"}) in wandb.calls
    assert ("log", 5, {"metrics/tokens": 128, "metrics/loss": 6.5}) in wandb.calls
    assert ("log", 5, {"downstream/tokens": 64, "downstream/pass_at_1/humaneval": 0.5}) in wandb.calls
    assert wandb.calls[-1] == ("finish",)
