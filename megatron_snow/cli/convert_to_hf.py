"""Convert a checkpoint to a Hugging Face Llama folder and check its logits against transformers.

    megatron-snow convert-to-hf --checkpoint runs/tiny_cpu --output runs/tiny_cpu/huggingface

The weights are the model's parameters in the dtype that trained (of a bf16 run: bf16, not the fp32 masters).
"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "convert a checkpoint to a Hugging Face Llama folder and check its logits"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint", required=True, type=Path, metavar="DIR", help="a step's folder, or a run's: its newest whole checkpoint"
    )
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="the Hugging Face folder to write")


def run(arguments: argparse.Namespace) -> None:
    from megatron_snow.conversion import to_huggingface

    check = to_huggingface(arguments.checkpoint, arguments.output)
    print(f"{arguments.output}: {check}; the likeliest next token differs at {check.other_choices} of them")
