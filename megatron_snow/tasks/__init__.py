"""Benchmark problems as plain records: `load_benchmark("humaneval")` or the path of a JSONL file.

Decontamination searches for their text in the corpus, evaluation asks a model to solve them.
"""

from megatron_snow.tasks.loading import BENCHMARKS, benchmark_path, load_benchmark
from megatron_snow.tasks.problem import Problem
from megatron_snow.tasks.texts import TaskTexts, load_texts, texts_of

__all__ = ["BENCHMARKS", "Problem", "TaskTexts", "benchmark_path", "load_benchmark", "load_texts", "texts_of"]
