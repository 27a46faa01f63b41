"""The whole system on real code: sources to report, twice, and killed on the way."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from megatron_snow.common.checksums import file_digest
from megatron_snow.common.records import read_json, read_json_lines, read_manifest
from megatron_snow.config import Workspace
from megatron_snow.training.telemetry import TIMED

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def start(recipe: Path, output: Path, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "megatron_snow", "run-recipe", "--recipe", str(recipe), "--output", str(output)]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=log.open("ab"), stderr=subprocess.STDOUT, start_new_session=True)


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to a process and all it started: torchrun puts its ranks into groups of their own."""
    members = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for member in members:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()
    psutil.wait_procs(members)


@pytest.fixture(scope="module")
def finished(small_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A run from nothing to the report."""
    root = tmp_path_factory.mktemp("run") / "small"
    log = root.with_suffix(".log")
    assert start(small_recipe, root, log).wait() == 0, log.read_text()[-4000:]
    return Workspace(root)


def what_must_be_equal(workspace: Workspace) -> dict[str, object]:
    """Digests of data, tokens, weights and metrics; speeds, times and what an LLM wrote are not repeatable."""
    stages = [
        workspace.corpus(name)
        for name in ("collected", "filtered", "deduplicated", "redacted", "decontaminated", "grouped", "held_out", "test")
    ]
    stages += [workspace.tokenizer_folder, workspace.tokens("general"), workspace.annotator("scores"), workspace.tokens("selected")]
    equal: dict[str, object] = {str(folder.relative_to(workspace.root)): read_manifest(folder).outputs for folder in stages}
    steps = [record for record in read_json_lines(workspace.metrics) if record["phase"] != "enhanced"]
    equal["metrics"] = [{name: value for name, value in record.items() if name not in TIMED} for record in steps]
    model = workspace.checkpoints / "step-00000010" / "model"
    equal["weights"] = {path.name: file_digest(path) for path in sorted(model.iterdir())}
    return equal


def test_every_part_is_there(finished: Workspace) -> None:
    metrics = list(read_json_lines(finished.metrics))
    assert [record["step"] for record in metrics] == list(range(1, 14))
    assert [record["phase"] for record in metrics] == ["general"] * 6 + ["continued"] * 4 + ["enhanced"] * 3
    assert metrics[-1]["tokens"] == 13 * 256
    held_out = list(read_json_lines(finished.held_out_metrics))
    assert [record["phase"] for record in held_out] == ["general", "continued", "enhanced"]
    assert all(0 < record["bits_per_byte"]["humaneval"] < 20 and {"C", "Python"} <= set(record["losses"]) for record in held_out)
    assert (finished.huggingface / "model.safetensors").is_file()
    score = read_json(finished.evaluation / "humaneval.json")
    assert score["problems"] == 164
    assert score["status"] in ("done", "not run")
    synthesis = read_manifest(finished.synthesis("documents"))
    assert synthesis is not None
    assert synthesis.counts["requested"] == synthesis.counts["answered"] == 2
    assert "<svg" in finished.report.read_text()


def test_megatron_core_reads_the_datasets(finished: Workspace) -> None:
    """In a process of its own: importing megatron-core changes torch for the others."""
    code = (
        "import sys\nfrom megatron.core.datasets.indexed_dataset import IndexedDataset\n"
        "data = IndexedDataset(sys.argv[1])\nprint(int(data.sequence_lengths.sum()), int(data[0][-1]))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code, str(finished.tokens("general") / "Python")], capture_output=True, text=True, check=True
    ).stdout
    tokens, last = map(int, output.split())
    assert tokens == read_manifest(finished.tokens("general")).counts["tokens:Python"]
    from megatron_snow.tokenizers import load_tokenizer

    assert last == load_tokenizer(finished.tokenizer_model).eod


def test_a_second_run_does_nothing_again(finished: Workspace, small_recipe: Path) -> None:
    rewritten = {"timings.json", "report.html", "recipe.yaml", "work", ".run.lock"}
    watched = [path for path in finished.root.rglob("*") if path.is_file() and not rewritten & {path.name, *path.parts}]
    before = {path: path.stat().st_mtime_ns for path in watched}
    first = sum(row["seconds"] for row in json.loads((finished.root / "timings.json").read_text()).values())
    begin = time.monotonic()
    assert start(small_recipe, finished.root, finished.root.with_suffix(".again.log")).wait() == 0
    assert {path: path.stat().st_mtime_ns for path in watched} == before
    assert time.monotonic() - begin < first / 2


def test_explain_of_a_finished_run_says_so_and_writes_nothing(finished: Workspace, small_recipe: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.root.rglob("*")}
    command = [
        sys.executable,
        "-m",
        "megatron_snow",
        "run-recipe",
        "--recipe",
        str(small_recipe),
        "--output",
        str(finished.root),
        "--explain",
    ]
    output = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout
    lines = output.splitlines()
    scored = read_json(finished.evaluation / "humaneval.json")["status"] == "done"
    assert sum("]" in line and ": done; " in line for line in lines) == len(lines) - (0 if scored else 2)
    assert "report: done; is written again by every run" in output or not scored
    more = subprocess.run(
        [*command, "--set", "phases=[{name: general, data: [{dataset: general}], tokens: 2560, lr: {shape: constant, peak: 1.0e-3}}]"],
        env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert more.returncode == 2  # a phase that has been trained is another now
    assert {path: path.stat().st_mtime_ns for path in finished.root.rglob("*")} == before


def test_data_that_was_trained_on_is_not_made_again(finished: Workspace, small_recipe: Path) -> None:
    """A changed corpus is refused before anything is written, and no step looks at the sources again."""
    before = read_manifest(finished.corpus("filtered"))
    command = [sys.executable, "-m", "megatron_snow", "run-recipe", "--recipe", str(small_recipe), "--output", str(finished.root)]
    result = subprocess.run(
        [*command, "--set", "corpus.filters.thresholds.long_line=50"], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "corpus.filters.thresholds.long_line: it was None, the recipe says 50.0" in result.stderr
    assert "Traceback" not in result.stderr
    assert read_manifest(finished.corpus("filtered")) == before
    output = subprocess.run([*command, "--until", "group"], env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout
    assert output.count("kept as it is") == 6


@pytest.mark.slow
def test_killed_anywhere_it_ends_in_the_same_place(finished: Workspace, small_recipe: Path, tmp_path: Path) -> None:
    """SIGKILL to the whole process tree at random moments, the same command again, until it comes through."""
    root, log = tmp_path / "small", tmp_path / "log"
    moments = random.Random(1234)
    for kills in range(100):
        process = start(small_recipe, root, log)
        try:
            code = process.wait(timeout=moments.uniform(2, 25))
        except subprocess.TimeoutExpired:
            kill_tree(process)
            continue
        assert code == 0, log.read_text()[-4000:]
        assert kills > 3, "the run was too quick to be killed on the way"
        assert what_must_be_equal(Workspace(root)) == what_must_be_equal(finished)
        return
    raise AssertionError(f"not through after 100 kills: {log.read_text()[-4000:]}")
