"""Golden losses: 100 steps of the laptop's recipe (recipe.yaml) on real code (data/, frozen files of this repository).

.venv/bin/python -m tests.golden.losses --why "RMSNorm: the sum in fp64"   # writes losses.json

Write them anew only after a change that is meant to alter numerics (an op's formula, the initialisation, the order of samples, an
optimizer's default) or that had to (a new torch), and say which: it stands in the file. A refactoring that fails the test is wrong.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from megatron_snow.common.environment import describe_machine
from megatron_snow.common.records import read_json, write_json
from megatron_snow.config import Recipe, Workspace, load_recipe
from megatron_snow.datasets import IndexedWriter, token_dtype
from megatron_snow.engine import Engine
from megatron_snow.model import build_snowcoder
from megatron_snow.training import Plan
from megatron_snow.training.data import BatchReader

HERE = Path(__file__).parent
GOLDEN = HERE / "losses.json"
ELSEWHERE = 1e-4  # relative, on another CPU or build
_WORD = re.compile(r"\w+|\s+|.", re.DOTALL)


def train(steps: int = 100, overrides: Sequence[str] = ()) -> list[float]:
    """The losses of the first steps, on one thread: sums of several threads depend on their number."""
    torch.set_num_threads(1)
    recipe = load_recipe(HERE / "recipe.yaml", overrides)
    plan = Plan(recipe)
    with tempfile.TemporaryDirectory() as folder:
        write_datasets(recipe, Workspace(Path(folder)))
        reader, engine = BatchReader(recipe, Workspace(Path(folder))), Engine(recipe, build_snowcoder(recipe))
        losses = []
        for number in range(1, steps + 1):
            step = plan.step(number)
            losses.append(engine.train_step(torch.from_numpy(reader.read(step, 0, 1).tokens), step.learning_rate).loss)
        engine.close()
    return losses


def write_datasets(recipe: Recipe, workspace: Workspace) -> None:
    """data/DATASET/LANGUAGE.txt as .bin and .idx; words are numbered as they first appear, so that no tokenizer's version counts."""
    numbers: dict[str, int] = {"\f": 0}
    for path in sorted(HERE.glob("data/*/*.txt")):
        folder = workspace.tokens(path.parent.name)
        folder.mkdir(parents=True, exist_ok=True)
        with IndexedWriter(folder / path.stem, token_dtype(recipe.tokenizer.vocab_size)) as writer:
            for text in path.read_text(encoding="utf-8").split("\f\n"):
                writer.append([numbers.setdefault(word, len(numbers)) for word in _WORD.findall(text)] + [0])
                writer.end_document()
    assert len(numbers) <= recipe.tokenizer.vocab_size, f"{len(numbers)} different words"


def environment() -> dict[str, Any]:
    """What the bits of a sum depend on."""
    return {
        "torch": torch.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cpu": describe_machine()["cpu"],  # MKL chooses its kernels by the maker too
        "generation": _generation(),
        "mkl": torch.backends.mkl.is_available(),
        "onednn": torch.backends.mkldnn.is_available(),
        "threads": torch.get_num_threads(),
    }


def _generation() -> list[str]:
    """Family and model of the processors: a virtual machine's name may be "AMD EPYC" for any. Empty where it is not told."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.is_file() else ""
    return sorted({f"{name} {number}" for name, number in re.findall(r"^(cpu family|model)\s*: (\d+)$", text, re.MULTILINE)})


def differences(losses: Sequence[float], golden: dict[str, Any], where: dict[str, Any]) -> list[str]:
    """A line for each step whose loss is not the golden one: equal in an equal environment, within ELSEWHERE in another."""
    limit = 0.0 if where == golden["environment"] else ELSEWHERE
    return [
        f"step {number}: loss {loss!r}, golden {wanted!r}, {abs(loss / wanted - 1):.1e} apart"
        for number, (loss, wanted) in enumerate(zip(losses, golden["losses"]), start=1)
        if not abs(loss - wanted) <= limit * wanted
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--why", required=True, help="what changed the numerics, and that it was meant to")
    why = parser.parse_args().why
    losses = train()
    changed = differences(losses, read_json(GOLDEN), environment()) if GOLDEN.is_file() else []
    write_json(GOLDEN, {"why": why, "environment": environment(), "losses": losses})
    print(f"{GOLDEN}: {len(losses)} losses, {losses[0]:.4f} to {losses[-1]:.4f}")
    print(f"{len(changed)} differ from the ones before", *changed[:3], sep="\n")


if __name__ == "__main__":
    main()
