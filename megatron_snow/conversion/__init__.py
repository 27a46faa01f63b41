"""Checkpoints to Hugging Face Llama folders and back, bit for bit. Start at mapping.py, the table of weights.

`to_huggingface` ends with a comparison of logits; what does not agree is not written.
"""

from megatron_snow.conversion.check import LogitCheck
from megatron_snow.conversion.from_huggingface import from_huggingface
from megatron_snow.conversion.to_huggingface import find_checkpoint, to_huggingface

__all__ = ["LogitCheck", "find_checkpoint", "from_huggingface", "to_huggingface"]
