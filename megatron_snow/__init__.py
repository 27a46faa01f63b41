"""megatron_snow: the Arctic-SnowCoder system (arXiv 2409.02326), from raw repositories to scores.

`docs/architecture.md` draws the house; each folder below is one section of the paper.
"""

__version__ = "0.1.0"
