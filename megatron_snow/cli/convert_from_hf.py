"""Convert a Hugging Face Llama folder to a checkpoint that the engine loads in any parallel layout.

    megatron-snow convert-from-hf --model path/to/llama --output runs/imported/checkpoints

Needs config.json, safetensors and a tokenizer: tokenizer.model, tokenizer.json, or vocab.json and merges.txt. A model of another
kind is refused by the name of its key.
"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "convert a Hugging Face Llama folder to a checkpoint"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, type=Path, metavar="DIR", help="the Hugging Face folder")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="the folder of checkpoints; step-00000000 appears in it")


def run(arguments: argparse.Namespace) -> None:
    from megatron_snow.conversion import from_huggingface

    print(from_huggingface(arguments.model, arguments.output))
