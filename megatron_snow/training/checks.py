"""What is checked before step 1, on files alone: each check raises one UserError with the remedy."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from megatron_snow.common.errors import UserError
from megatron_snow.common.records import MANIFEST, read_manifest
from megatron_snow.config import Recipe, Workspace
from megatron_snow.datasets import IndexedDataset
from megatron_snow.datasets.vocabulary import first_outside
from megatron_snow.tasks import load_benchmark
from megatron_snow.tokenizers import load_tokenizer
from megatron_snow.training.data import dataset_path, dataset_prefixes
from megatron_snow.training.domains import domain_files

# Tokens of a file that are looked at, in evenly spaced blocks: 40 MB, some 20 ms. Each batch is checked again when it is read.
_LOOKED_AT = 20_000_000
_BLOCK = 1_000_000


def check_datasets(datasets: Iterable[str], recipe: Recipe, workspace: Workspace, command: str) -> None:
    """Every dataset is there, readable and of this vocabulary. An empty one (a manifest, no tokens) is the blend's business."""
    for dataset in datasets:
        path = dataset_path(dataset, workspace)
        prefixes = dataset_prefixes(path)
        if not prefixes and not (path / MANIFEST).is_file():
            raise UserError(f"{path}: dataset {dataset!r} is missing (no .idx there); make it with `{command}`")
        for prefix in prefixes:
            _check_vocabulary(IndexedDataset(prefix), recipe.tokenizer.vocab_size, command)


def check_tokenizer(path: Path, datasets: Iterable[str], recipe: Recipe, workspace: Workspace, command: str) -> None:
    """The tokenizer is there, has the vocabulary that the recipe, and so the model, says, and made those datasets that know theirs."""
    if not path.exists():
        raise UserError(f"{path}: the tokenizer is missing; make it with `{command}`, or set tokenizer.model to the path of one")
    tokenizer = load_tokenizer(path, engine="reference")
    size = tokenizer.vocab_size
    if size != recipe.tokenizer.vocab_size:
        raise UserError(
            f"{path}: the tokenizer has {size} pieces, tokenizer.vocab_size is {recipe.tokenizer.vocab_size}; "
            f"set it to {size}, or set tokenizer.model to the tokenizer that made the datasets"
        )
    for dataset in datasets:
        folder = dataset_path(dataset, workspace)
        manifest = read_manifest(folder) if dataset_prefixes(folder) else None
        if manifest and manifest.parameters.get("tokenizer", tokenizer.digest) != tokenizer.digest:
            raise UserError(
                f"{folder}: made with another tokenizer than {path}, though of the same size; "
                f"make it again with `{command}`, or set tokenizer.model to the one that made it"
            )


def check_evaluation(recipe: Recipe, workspace: Workspace, command: str) -> None:
    """What the end of a phase evaluates is there, so that it cannot fail hours later."""
    for benchmark in dict.fromkeys((*recipe.evaluation.benchmarks, *recipe.downstream_benchmarks)):
        load_benchmark(benchmark)
    for name, pattern in recipe.evaluation.domains.items():
        domain_files(name, pattern)
    if recipe.evaluation.held_out_sequences:
        path = workspace.tokens("held_out")
        if not dataset_prefixes(path):
            raise UserError(f"{path}: no held-out tokens; make them with `{command}`, or set evaluation.held_out_sequences to 0")
        check_datasets(["held_out"], recipe, workspace, command)


def check_compiler(recipe: Recipe) -> None:
    """What training.compile makes code with is there; torch looks for it in the same way, at the first step."""
    name = os.environ.get("CXX", "g++")
    if recipe.training.compile and not shutil.which(name):
        raise UserError(
            f"training.compile: true, but no C++ compiler: {name} is not on the PATH; install one (Debian: g++), set CXX to one, "
            "or set training.compile to false"
        )


def _check_vocabulary(data: IndexedDataset, vocab_size: int, command: str) -> None:
    highest = int(np.iinfo(data.dtype).max)
    if vocab_size - 1 > highest:
        raise UserError(
            f"{data.prefix}.idx: tokens of {data.dtype} hold no id over {highest:,}, tokenizer.vocab_size is {vocab_size:,}; "
            f"it was made with another tokenizer: make it again with `{command}`, or set tokenizer.vocab_size"
        )
    blocks = max(1, min(_LOOKED_AT // _BLOCK, -(-data.num_tokens // _BLOCK)))
    for first in np.linspace(0, max(0, data.num_tokens - _BLOCK), blocks, dtype=np.int64).tolist():
        tokens = data.read(first, min(_BLOCK, data.num_tokens))
        if (place := first_outside(tokens, vocab_size)) is not None:
            raise UserError(
                f"{data.prefix}.bin: token {tokens[place]} at {first + place:,} is not one of 0 to {vocab_size - 1}, tokenizer.vocab_size; "
                f"it was made with another tokenizer: make it again with `{command}`, or set tokenizer.vocab_size"
            )
