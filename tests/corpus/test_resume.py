"""The corpus verbs killed and interrupted on the way: the same command again ends in the same bytes, and nobody is left behind."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from megatron_snow.common.checksums import file_digest

RECIPE = """
name: small
workspace: {workspace}
workers: 2
corpus:
  sources: [{{kind: folder, path: {checkouts}}}]
  max_bytes: 300000
  held_out_share: 0.1
  decontamination: {{benchmarks: [humaneval]}}
model: {{num_layers: 1, hidden_size: 8, ffn_hidden_size: 8, num_attention_heads: 1, num_query_groups: 1, seq_length: 16}}
tokenizer: {{vocab_size: 300}}
training: {{global_batch_size: 1, micro_batch_size: 1}}
phases: [{{name: general, data: [{{dataset: general}}], tokens: 16, lr: {{shape: constant, peak: 1.0e-3}}}}]
"""


def heed_interrupts() -> None:
    """A shell starts what runs in its background (this test, perhaps) with SIGINT ignored, and that is inherited."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Corpus:
    """Runs of all corpus steps of one recipe, each into a folder of its own, in a process group of its own."""

    def __init__(self, recipe: Path) -> None:
        self.recipe = recipe

    def start(self, output: Path, executor: str = "pool") -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "megatron_snow", "run-recipe", "--recipe", str(self.recipe), "--output", str(output)]
        options = ["--until", "group", "--set", f"executor={executor}"]
        log = output.with_suffix(".log").open("ab")
        return subprocess.Popen(
            [*command, *options], stdout=log, stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=heed_interrupts
        )

    def finish(self, output: Path) -> None:
        assert self.start(output).wait(timeout=300) == 0, output.with_suffix(".log").read_text()[-4000:]


@pytest.fixture(scope="module")
def corpus(checkouts: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    recipe = tmp_path_factory.mktemp("resume") / "small.yaml"
    recipe.write_text(RECIPE.format(workspace="unused", checkouts=checkouts))
    return Corpus(recipe)


@pytest.fixture(scope="module")
def unbroken(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a run that nobody disturbs leaves."""
    output = tmp_path_factory.mktemp("unbroken") / "run"
    corpus.finish(output)
    return files(output)


def files(output: Path) -> dict[str, str]:
    """Digests of everything in corpus/: shards, records, rejects, logs, work; manifests without their seconds."""
    found = {}
    for path in sorted((output / "corpus").rglob("*")):
        name = str(path.relative_to(output))
        if path.name == "manifest.json":
            found[name] = json.dumps(json.loads(path.read_text()) | {"seconds": 0})
        elif path.is_file() and path.suffix != ".lock":  # a kill leaves it, and it is not a result
            found[name] = file_digest(path)
    return found


def end(process: subprocess.Popen[bytes], number: int) -> list[psutil.Process]:
    """Send a signal to the process alone; those of its children that are alive 10 seconds after its end."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    process.wait(timeout=60)
    return psutil.wait_procs(children, timeout=10)[1]


def kill_often(corpus: Corpus, output: Path, seed: int, times: int) -> int:
    """SIGKILL after some more tasks and some more milliseconds, again and again, then to the end; how many were killed."""
    choice, killed = random.Random(seed), 0
    for _ in range(times):
        wanted = done(output) + choice.randint(0, 3)
        process = corpus.start(output, choice.choice(["pool", "inline"]))
        while process.poll() is None and done(output) < wanted:
            time.sleep(0.002)
        time.sleep(choice.uniform(0, 0.5))
        if process.poll() is not None:
            assert process.returncode == 0, output.with_suffix(".log").read_text()[-4000:]
            break
        assert not end(process, signal.SIGKILL)
        killed += 1
    corpus.finish(output)
    return killed


def done(output: Path) -> int:
    """Tasks with a record. Folders come and go meanwhile, which os.walk does not mind."""
    return sum(name.endswith(".record.json") for _, _, names in os.walk(output / "corpus") for name in names)


def test_sigkill_costs_only_time(corpus: Corpus, unbroken: dict[str, str], tmp_path: Path) -> None:
    assert kill_often(corpus, tmp_path / "run", seed=1, times=2)
    assert files(tmp_path / "run") == unbroken


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 10))
def test_sigkill_at_many_moments_costs_only_time(seed: int, corpus: Corpus, unbroken: dict[str, str], tmp_path: Path) -> None:
    assert kill_often(corpus, tmp_path / "run", seed, times=12)
    assert files(tmp_path / "run") == unbroken


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_an_interrupt_ends_all_at_once_and_leaves_nothing_half_written(
    number: int, corpus: Corpus, unbroken: dict[str, str], tmp_path: Path
) -> None:
    output = tmp_path / "run"
    process = corpus.start(output)
    deadline = time.monotonic() + 120
    while not list(output.glob("corpus/filtered/.tasks.lock")):  # in the middle of the second stage
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)
    begin = time.monotonic()
    assert not end(process, number)
    assert process.returncode == 130
    assert time.monotonic() - begin < 15
    log = output.with_suffix(".log").read_text()
    assert "interrupted: what was finished is kept; run the same command again to go on" in log
    assert "Traceback" not in log
    assert not [path for path in output.rglob("*") if "partial" in path.name]
    corpus.finish(output)
    assert files(output) == unbroken


def test_an_interrupted_pool_does_not_wait_for_its_tasks(tmp_path: Path) -> None:
    """Each task would take a minute more."""
    script = tmp_path / "run.py"
    script.write_text(
        "import sys, time\nfrom pathlib import Path\nfrom megatron_snow.common.errors import exit_code_of\n"
        "from megatron_snow.pipeline import Execution, Stage, Task, run_stage\n"
        "def work(inputs, prefix, parameters):\n    Path(parameters['begun']).touch()\n    time.sleep(60)\n    return {}\n"
        "if __name__ == '__main__':\n"
        "    tasks = [Task(str(n), (), {'begun': f'{sys.argv[1]}/begun-{n}'}) for n in range(4)]\n"
        "    stage = Stage('work', 1, work, {}, ('.txt',))\n"
        "    sys.exit(exit_code_of(lambda: run_stage(stage, tasks, Path(sys.argv[1]) / 'out', Execution('pool', 2)) and None))\n"
    )
    process = subprocess.Popen([sys.executable, str(script), str(tmp_path)], stderr=subprocess.DEVNULL, preexec_fn=heed_interrupts)
    while len(list(tmp_path.glob("begun-*"))) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    begin = time.monotonic()
    assert not end(process, signal.SIGINT)
    assert process.returncode == 130
    assert time.monotonic() - begin < 15
