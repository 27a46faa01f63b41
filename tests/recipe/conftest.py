"""A corpus of real repositories and a recipe small enough to run whole in a test."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path

import pytest
import yaml

import megatron_snow

TINY = Path(megatron_snow.__file__).parent.parent / "examples" / "recipes" / "tiny_cpu.yaml"
_PACKAGES = ("asyncio", "collections", "concurrent", "ctypes", "email", "html", "http", "importlib", "json", "logging", "unittest", "xml")


@pytest.fixture(scope="session")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packages of the standard library and the interpreter's C headers, each as a repository."""
    root = tmp_path_factory.mktemp("repositories")
    paths = sysconfig.get_paths()
    for package in _PACKAGES:
        shutil.copytree(Path(paths["stdlib"]) / package, root / package, ignore=shutil.ignore_patterns("__pycache__", "test*"))
    for name in ("include", "internal", "cpython"):  # three repositories, so that one can be held out
        source = Path(paths["include"]) / ("" if name == "include" else name)
        (root / f"python-{name}").mkdir()
        for header in sorted(source.glob("*.h")):
            shutil.copy(header, root / f"python-{name}")
    return root


@pytest.fixture(scope="session")
def small_recipe(repositories: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The laptop's recipe with every size cut down: 13 steps of 256 tokens, one request, 8 new tokens a problem."""
    recipe = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    recipe["name"] = "small"
    recipe["corpus"] = {
        "sources": [{"kind": "folder", "path": str(repositories)}],
        "held_out_share": 0.1,
        "test_share": 0.05,
        "decontamination": {"benchmarks": ["humaneval"]},
    }
    recipe["tokenizer"] = {"vocab_size": 600, "train_bytes": 500_000}
    recipe["model"] |= {
        "num_layers": 2,
        "hidden_size": 32,
        "ffn_hidden_size": 64,
        "num_attention_heads": 2,
        "num_query_groups": 2,
        "seq_length": 64,
    }
    recipe["training"] |= {"global_batch_size": 4, "micro_batch_size": 2, "save_interval": 3}
    for phase, steps in zip(recipe["phases"], (6, 4, 3)):
        phase["tokens"] = steps * 256
        phase["lr"]["warmup_tokens"] = 256
    recipe["annotator"] |= {
        "positives": ["json", "email"], "documents_per_class": 12, "section_tokens": 64, "score_documents": 60, "select_tokens": 4000,
    }  # fmt: skip
    recipe["synthesis"] |= {"requests": 2, "max_tokens": 96, "seed_bytes": 400}
    recipe["evaluation"] = {"benchmarks": ["humaneval"], "max_new_tokens": 8, "held_out_sequences": 4}
    path = tmp_path_factory.mktemp("recipe") / "small.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return path
