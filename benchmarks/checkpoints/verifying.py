"""What a checkpoint's verification costs beside reading its weights, and what a deferred one leaves of it.

.venv/bin/python -m benchmarks.checkpoints.verifying [--preset snowcoder-135m]

The checkpoint is of weights alone in fp32, made up, in the page cache; digests are BLAKE2b-128 in one thread.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

from benchmarks.harness import CACHE, Result, best
from megatron_snow.checkpoint import CheckpointStore
from megatron_snow.checkpoint.integrity import verify
from megatron_snow.config import Model
from megatron_snow.config.presets import expand_preset
from megatron_snow.engine import read_model, weight_shapes, write_model

_VOCABULARY = 64_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="snowcoder-135m")
    args = parser.parse_args()
    tree = {"model": {"preset": args.preset}}
    if problem := expand_preset(tree):
        parser.error(": ".join(problem))
    model, result = Model(**tree["model"]), Result("verifying", "benchmarks.checkpoints", ("torch",))
    tensors = {name: torch.randn(shape) for name, shape in weight_shapes(model, _VOCABULARY).items()}
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        store = CheckpointStore(Path(name), keep=1)

        def write(folder: Path) -> None:
            write_model(folder / "model", tensors, model, _VOCABULARY)

        path = store.save(1, write, {}, keep_forever=False)
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        result.add("sizes and digests of the small files", best(lambda: verify(path, weights=False)), checkpoint_bytes=size)
        result.add("digests of all files", best(lambda: verify(path)), size)
        result.add("weights read", best(lambda: read_model(path / "model")), size)
    result.save()


if __name__ == "__main__":
    main()
