"""Scores of a model on benchmarks (paper 3.3). Start at `evaluate`: complete greedily, run in the sandbox, count.

Works on any Hugging Face folder of a causal language model. Importing this loads no torch; completing does.
"""

from megatron_snow.evaluation.checkers import check_completions
from megatron_snow.evaluation.evaluate import evaluate
from megatron_snow.evaluation.scores import mean_pass_at_k, pass_at_k

__all__ = ["check_completions", "evaluate", "mean_pass_at_k", "pass_at_k"]
