"""Ray for real: a cluster of three nodes on this machine, one killed on the way; an own one, its messages."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from megatron_snow.pipeline import run_stage, tasks_by_shard

pytest.importorskip("ray", reason="ray is not installed (pip install 'megatron-snow[ray]')")
HERE = Path(__file__).parent


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    (tmp_path / "in").mkdir()
    for number in range(12):
        (tmp_path / "in" / f"shard-{number:02d}.txt").write_text(f"text {number}\n" * 100)
    return sorted((tmp_path / "in").iterdir())


def run_script(*arguments: object) -> str:
    result = subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False, env=os.environ
    )
    assert result.returncode == 0, (result.stdout + result.stderr)[-4000:]
    return result.stdout


def test_a_killed_node_costs_nothing_but_time(
    tmp_path: Path, shards: list[Path], functions: ModuleType, stage: Any, content: Callable[[Path], dict[str, str]]
) -> None:
    run_script(HERE / "ray_run.py", tmp_path / "in", tmp_path / "out", tmp_path / "notes")
    begun = Counter((tmp_path / "notes").read_text().split())
    assert begun.keys() == {path.stem for path in shards}
    assert max(begun.values()) == 2, "no task was running on the node that was killed"
    inline = run_stage(stage(functions.noted, seconds=0, notes=str(tmp_path / "inline-notes")), tasks_by_shard(shards), tmp_path / "inline")
    assert content(tmp_path / "out") == content(tmp_path / "inline")
    assert set(inline.outputs) == set(content(tmp_path / "out"))


OWN = """
import sys
from pathlib import Path
import stage_functions
from megatron_snow.common.errors import UserError
from megatron_snow.pipeline import Execution, Stage, run_stage, tasks_by_shard
inputs, output = map(Path, sys.argv[1:])
tasks = tasks_by_shard(sorted(inputs.iterdir())[:4])
run = lambda folder, function, **parameters: run_stage(
    Stage("upper", 1, function, parameters, (".txt",)), tasks, output / folder, Execution("ray", 2, {"max_retries": "1"}))
print("counts", run("whole", stage_functions.upper).counts)
for folder, function, error in (("user", "fail_with", "user"), ("other", "fail_with", "other"), ("dead", "die", "")):
    try:
        run(folder, getattr(stage_functions, function), error=error)
    except (UserError, ZeroDivisionError) as error:
        print(folder, type(error).__name__, error, *getattr(error, "__notes__", ()))
"""


def test_a_cluster_of_our_own_and_its_messages(tmp_path: Path, functions: ModuleType) -> None:
    (tmp_path / "in").mkdir()
    for name in "abcd":
        (tmp_path / "in" / f"{name}.txt").write_text(f"text {name}\n")
    (tmp_path / "run.py").write_text(OWN)
    output = run_script(tmp_path / "run.py", tmp_path / "in", tmp_path / "out")
    assert "counts {'characters': 28}" in output
    assert f"user UserError upper, task b ({tmp_path}/in/b.txt): the licence is missing; name one" in output
    assert "other ZeroDivisionError b is bad in stage 'upper', task b" in output
    assert "dead UserError executor ray: " in output
    assert "was lost with its worker or node, after retries" in output


def test_no_cluster_at_the_address(tmp_path: Path, functions: ModuleType) -> None:
    code = (
        "import stage_functions\nfrom pathlib import Path\nfrom megatron_snow.common.errors import UserError\n"
        "from megatron_snow.pipeline.executors import Execution, execute\n"
        "try: list(execute(str, ['a'], Execution('ray', 1, {'address': '127.0.0.1:1'}), Path('.')))\n"
        "except UserError as error: print(error)\n"
    )
    assert "executor ray: no cluster at 127.0.0.1:1" in run_script("-c", code)
