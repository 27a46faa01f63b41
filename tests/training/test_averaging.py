"""Averages of checkpoints: the formula on a real problem, and real checkpoints through the verbs."""

from __future__ import annotations

import dataclasses
import functools
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from megatron_snow.checkpoint import CheckpointStore, read_checkpoint
from megatron_snow.cli.main import run_verb
from megatron_snow.common.checksums import file_digest
from megatron_snow.config import Blend, Curve, Phase, Tokenizer, save_recipe
from megatron_snow.engine import Engine, TensorReader, read_model, weight_shapes, write_model
from megatron_snow.model import build_snowcoder
from megatron_snow.tokenizers import load_tokenizer
from megatron_snow.training.averaging_weights import WEIGHTS, merge_weights


def regression() -> tuple[np.ndarray, np.ndarray]:
    """Least squares on real numbers: the byte counts of this file's lines against how often each letter stands in them."""
    lines = Path(__file__).read_text().splitlines()
    counts = np.array([[line.count(chr(letter)) for letter in range(97, 113)] for line in lines], np.float64)
    return counts, np.array([len(line) for line in lines], np.float64)


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("interval", [1, 5])
def test_a_merge_is_the_decay_of_the_frozen_gradients(kind: str, interval: int) -> None:
    """SGD at a constant rate, float64: the merge of k + 1 snapshots is the last k intervals again, each at its share of the rate."""
    inputs, targets = regression()
    rate, intervals, weights = 1e-6, 7, np.zeros(inputs.shape[1])
    snapshots, gradients = [weights], []
    for step in range(intervals * interval):
        rows = slice(step % 4, None, 4)  # batches, so that gradients differ from step to step
        gradients.append(inputs[rows].T @ (inputs[rows] @ weights - targets[rows]))
        weights = weights - rate * gradients[-1]
        if (step + 1) % interval == 0:
            snapshots.append(weights)
    parts = merge_weights(kind, [100 * number for number in range(intervals + 1)])
    merged = sum(part * snapshot for part, snapshot in zip(parts, snapshots))
    scale = {
        "uniform": lambda share: 1 - share,
        "linear": lambda share: 1 - share,
        "cosine": lambda share: 0.5 * (1 + np.cos(np.pi * share)),
        "1-sqrt": lambda share: 1 - np.sqrt(share),
    }[kind]
    decayed = snapshots[0] - rate * sum(
        scale((step // interval + 1) / (intervals + 1)) * gradient for step, gradient in enumerate(gradients)
    )
    assert np.linalg.norm(weights - decayed) > 1e-3 * np.linalg.norm(decayed)  # the rate matters here
    assert np.linalg.norm(merged - decayed) <= 1e-14 * np.linalg.norm(decayed)


def test_a_merge_is_near_a_real_decay_and_nearer_than_the_end() -> None:
    """The same problem run again at a falling rate: its gradients are not the frozen ones, so near is all it is."""
    inputs, targets = regression()
    intervals, rate = 40, 4e-6

    def run(weights: np.ndarray, rates: list[float]) -> list[np.ndarray]:
        path = [weights]
        for step, each in enumerate(rates):
            rows = slice(step % 4, None, 4)
            path.append(path[-1] - each * inputs[rows].T @ (inputs[rows] @ path[-1] - targets[rows]))
        return path

    start = run(np.zeros(inputs.shape[1]), [rate] * 400)[-1]
    snapshots = run(start, [rate] * intervals)
    parts = merge_weights("linear", list(range(intervals + 1)))
    merged = sum(part * snapshot for part, snapshot in zip(parts, snapshots))
    decayed = run(start, [rate * (1 - (step + 1) / (intervals + 1)) for step in range(intervals)])[-1]
    assert np.linalg.norm(merged - decayed) < 0.5 * np.linalg.norm(snapshots[-1] - decayed)


def test_weights_sum_to_one_and_go_by_tokens() -> None:
    assert merge_weights("linear", [10, 20, 30, 40]) == pytest.approx([0.25] * 4)
    assert merge_weights("linear", [0, 30, 40]) == pytest.approx([0.5, 1 / 6, 1 / 3])  # curve 1, 0.5, 1/3, 0 over a horizon of 60
    for kind in WEIGHTS:
        weights = merge_weights(kind, [5, 6, 9, 10, 20])
        assert sum(weights) == pytest.approx(1.0, abs=1e-15)
        assert min(weights) > 0
    assert merge_weights("1-sqrt", [0, 1, 2, 3])[0] == pytest.approx(0.5)  # it falls fastest at its start


@pytest.fixture(scope="module")
def run_folder(tiny_recipe: Callable[..., Any], code_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """run_folder(precision): a real run of four steps, saved after each with its optimizer; no test may change it."""

    @functools.cache
    def make(precision: str) -> Path:
        root = tmp_path_factory.mktemp(precision)
        recipe = tiny_recipe(precision=precision, num_layers=2)
        phase = Phase("general", data=(Blend("general"),), tokens=4 * 8 * 32, lr=Curve("constant", 1e-2))
        recipe = dataclasses.replace(recipe, tokenizer=Tokenizer(1024), phases=(phase,))
        store = CheckpointStore(root / "checkpoints", keep=9)
        engine = Engine(recipe, build_snowcoder(recipe))
        try:
            chance = torch.Generator().manual_seed(3)
            for step in range(1, 5):
                engine.train_step(torch.randint(0, 1024, (8, 33), generator=chance), 1e-2)

                def write(folder: Path) -> None:
                    engine.save(folder / "model")
                    save_recipe(recipe, folder / "recipe.yaml")
                    load_tokenizer(code_tokenizer, engine="reference").save(folder)

                store.save(step, write, {"tokens": step * 256, "phase": "general"}, keep_forever=False)
        finally:
            engine.close()
        return root

    return make


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_average_of_a_run(run_folder: Callable[..., Path], tmp_path: Path, precision: str, dtype: torch.dtype) -> None:
    """The verb against float64, of bf16 the masters; the record; and that convert-to-hf and a new engine take it."""
    run = run_folder(precision)
    output = tmp_path / "merged" / "checkpoints"
    arguments = ["--run", str(run), "--last", "3", "--weights", "1-sqrt", "--output", str(output)]
    assert run_verb("average_checkpoints", arguments) == 0
    store = CheckpointStore(run / "checkpoints", keep=9)
    parts = merge_weights("1-sqrt", [512, 768, 1024])
    readers = [TensorReader(store.at(step).model) for step in (2, 3, 4)]
    merged = read_checkpoint(output / "step-00000000")
    for name, tensor in read_model(merged.model).items():
        expected = sum(part * reader.read(name).double() for part, reader in zip(parts, readers))[: len(tensor)]
        assert tensor.dtype == dtype
        assert torch.allclose(tensor.double(), expected.to(dtype).double(), rtol=1e-2 if dtype == torch.bfloat16 else 1e-5, atol=1e-8)
    record = yaml.safe_load((merged.path / "state.yaml").read_text())["averaged"]
    assert record["weights"] == "1-sqrt"
    assert [each["weight"] for each in record["checkpoints"]] == parts
    assert [each["digest"] for each in record["checkpoints"]] == [file_digest(store.at(step).path / "manifest.json") for step in (2, 3, 4)]
    assert run_verb("convert_to_hf", ["--checkpoint", str(merged.path), "--output", str(tmp_path / "hf")]) == 0


def test_masters_are_averaged_where_there_are_some(run_folder: Callable[..., Path]) -> None:
    """A bf16 weight is a rounding of its master: averages of the two differ, and the reader gives the master."""
    checkpoint = CheckpointStore(run_folder("bf16") / "checkpoints", keep=9).at(4)
    reader, name = TensorReader(checkpoint.model), "decoder.layers.0.mlp.linear_fc1.weight"
    master, weight = reader.read(name), read_model(checkpoint.model)[name]
    assert master.dtype == torch.float32
    assert not torch.equal(master, weight.float())
    assert torch.equal(master.bfloat16(), weight)


def test_what_does_not_belong_together_is_refused(
    run_folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(run_folder("fp32"), tmp_path / "run")
    steps = [str(run / "checkpoints" / f"step-0000000{number}") for number in (1, 2, 3)]

    def refuse(message: str, *arguments: str, output: Path = tmp_path / "none") -> None:
        assert run_verb("average_checkpoints", [*arguments, "--output", str(output)]) == 2
        assert re.search(message, capsys.readouterr().err)

    refuse("1 checkpoint to average", "--checkpoints", steps[0])
    refuse("given twice", "--checkpoints", steps[0], steps[0])
    refuse("holds checkpoints of a run", "--checkpoints", *steps, output=run / "checkpoints")
    refuse("needs --last of 2 or more", "--run", str(run))
    refuse(r"has 2 at a multiple of 2 steps \(2, 4\)", "--run", str(run), "--last", "3", "--every", "2")
    shard = next(Path(steps[1]).glob("model/*.distcp"))
    shard.write_bytes(shard.read_bytes()[:-1])
    refuse(re.escape(str(shard)), "--checkpoints", *steps)


MEASURE = """
import sys, threading, time
from pathlib import Path
import psutil, torch
from megatron_snow.engine import TensorReader, write_tensors
from megatron_snow.training.averaging import _write_average
torch.set_num_threads(1)
readers = [TensorReader(Path(folder)) for folder in sys.argv[2:]]
process, peak, stop = psutil.Process(), [0], threading.Event()
_write_average(Path(sys.argv[1], "warm"), readers[:1], [1.0])
before = process.memory_info().rss
def watch():
    while not stop.is_set():
        peak[0] = max(peak[0], process.memory_info().rss)
        time.sleep(0.002)
thread = threading.Thread(target=watch)
thread.start()
_write_average(Path(sys.argv[1], "average"), readers, [1 / len(readers)] * len(readers))
stop.set()
thread.join()
print(peak[0] - before)
"""


def test_memory_is_bound_by_the_largest_weight(tiny_recipe: Callable[..., Any], tmp_path: Path) -> None:
    """Three checkpoints of 24 layers: 110 MB each, their largest weight 2 MB; what is taken beyond the start is a few of it."""
    recipe = tiny_recipe(num_layers=24, hidden_size=256, ffn_hidden_size=1024)
    shapes = weight_shapes(recipe.model, 130)
    folders = [tmp_path / str(number) for number in range(3)]
    for folder in folders:
        write_model(folder, {name: torch.ones(shape) for name, shape in shapes.items()}, recipe.model, 130)
    result = subprocess.run([sys.executable, "-c", MEASURE, tmp_path, *folders], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    largest = 4 * 2 * 1024 * 256
    whole = sum(file.stat().st_size for file in folders[0].iterdir())
    assert whole > 40 * largest
    assert int(result.stdout) < 8 * largest
