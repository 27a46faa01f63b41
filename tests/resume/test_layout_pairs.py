"""A run saved in one layout goes on in another: the next ten losses and the samples are those of the run that went on as it was."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest

from megatron_snow.config import Workspace
from tests.resume.runs import Seen, run_steps, steps_of

LAYOUTS = {"1-1-1": (1, 1, 1), "2-1-1": (2, 1, 1), "1-2-1": (1, 2, 1), "1-1-2": (1, 1, 2), "2-2-1": (2, 2, 1), "2-1-2": (2, 1, 2)}
PAIRS = list(itertools.product(LAYOUTS, repeat=2))
CYCLE = list(zip(LAYOUTS, [*list(LAYOUTS)[1:], *list(LAYOUTS)[:1]]))  # each once as the saving and once as the loading one
SAVED, STEPS = 3, 10
# eps: at 1e-8 AdamW turns a gradient of rounding noise into a whole step, which hides what is looked for.
CHANGES = [
    "evaluation.held_out_sequences=0", "evaluation.benchmarks=[]", "training.optimizer.eps=1.0e-5", "training.async_save=true",
    f"phases.first.tokens={128 * (SAVED + STEPS)}", f"training.save_interval={SAVED}", "training.keep_checkpoints=9",
]  # fmt: skip


def run(workers, tiny, output: Path, layout: str, zero1: bool) -> list[Seen]:  # type: ignore[no-untyped-def]
    """The first phase in a layout (tensor-pipeline-data), on from what `output` holds; what each rank read."""
    tensor, pipeline, data = LAYOUTS[layout]
    size = tensor * pipeline * data
    parallel = [f"parallel.processes={size}", f"parallel.tensor={tensor}", f"parallel.pipeline={pipeline}"]
    changes = [*CHANGES, *parallel, f"parallel.distributed_optimizer={str(zero1 and data > 1).lower()}"]
    return workers.run(size, run_steps, tiny.recipe, output, changes, SAVED + STEPS, timeout=300)  # type: ignore[no-any-return]


def samples(seen: list[Seen]) -> dict[int, list[int]]:
    """Step -> samples of the whole batch."""
    steps = {step for step, *_ in seen[0]}
    return {step: sorted({sample for rank in seen for number, *rows in rank if number == step for sample in rows}) for step in steps}


@pytest.fixture(scope="module", params=[True, False], ids=["zero1", "replicated"])
def unbroken(request, workers, tiny_run, tmp_path_factory):  # type: ignore[no-untyped-def]
    """layout -> (folder, samples) of a run without a break, made when it is asked for; and whether data-parallel ranks use ZeRO-1."""
    made: dict[str, tuple[Path, dict[int, list[int]]]] = {}

    def make(layout: str) -> tuple[Path, dict[int, list[int]]]:
        if layout not in made:
            output = tmp_path_factory.mktemp(layout)
            made[layout] = output, samples(run(workers, tiny_run, output, layout, request.param))
        return made[layout]

    return make, request.param


def check(workers, tiny_run, unbroken, tmp_path: Path, save: str, load: str) -> None:  # type: ignore[no-untyped-def]
    make, zero1 = unbroken
    whole, read = make(save)
    step = f"step-{SAVED:08d}"
    shutil.copytree(Workspace(whole).checkpoints / step, Workspace(tmp_path).checkpoints / step)
    again = samples(run(workers, tiny_run, tmp_path, load, zero1))
    assert again == {step: rows for step, rows in read.items() if step > SAVED}
    assert len(again) == STEPS
    expected = [loss for number, loss, _norm in steps_of(whole) if number > SAVED]
    found = [loss for _number, loss, _norm in steps_of(tmp_path)]
    assert found == (expected if save == load else pytest.approx(expected, rel=1e-6, abs=0))


@pytest.mark.parametrize("unbroken", [True], indirect=True, ids=["zero1"])
@pytest.mark.parametrize(("save", "load"), CYCLE)
def test_each_layout_saves_for_another(workers, tiny_run, unbroken, tmp_path: Path, save: str, load: str) -> None:  # type: ignore[no-untyped-def]
    check(workers, tiny_run, unbroken, tmp_path, save, load)


@pytest.mark.slow
@pytest.mark.parametrize(("save", "load"), PAIRS)
def test_any_layout_saves_for_any_other(workers, tiny_run, unbroken, tmp_path: Path, save: str, load: str) -> None:  # type: ignore[no-untyped-def]
    check(workers, tiny_run, unbroken, tmp_path, save, load)
