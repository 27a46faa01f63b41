"""Where everything of a run lies: the one place that names folders and files of a workspace."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_PACKING = re.compile(r"(?<=.)(\.jsonl|\.json|\.parquet)?(\.gz|\.zst)?$")


def file_name_of(language: str) -> str:
    """A language as a file name: "Jupyter Notebook" -> "Jupyter-Notebook"; "C++" and "C#" stay."""
    return language.replace(" ", "-").replace("/", "-")


def benchmark_label(benchmark: str) -> str:
    """A benchmark's name, or its file's without what says how it is packed: "data/mbppplus-v0.2.0.jsonl.gz" -> "mbppplus-v0.2.0"."""
    return _PACKING.sub("", Path(benchmark).name)


@dataclass(frozen=True)
class Workspace:
    """Paths below a run's folder."""

    root: Path

    def corpus(self, stage: str) -> Path:
        """corpus/collected, filtered, deduplicated, redacted, decontaminated, grouped, held_out, test: Parquet shards and a manifest."""
        return self.root / "corpus" / stage

    def tokenized_stages(self) -> dict[str, str]:
        """Stages of the corpus and the datasets that their tokens make; the test split where there is one."""
        return {"grouped": "general", "held_out": "held_out"} | ({"test": "test"} if self.corpus("test").is_dir() else {})

    @property
    def tokenizer_folder(self) -> Path:
        return self.root / "tokenizer"

    @property
    def tokenizer_model(self) -> Path:
        """What the corpus trained: tokenizer.json where it is byte-level, else tokenizer.model (SentencePiece)."""
        byte_level = self.tokenizer_folder / "tokenizer.json"
        return byte_level if byte_level.is_file() else self.tokenizer_folder / "tokenizer.model"

    def tokens(self, dataset: str) -> Path:
        """tokens/general, held_out, test, selected, synthetic: LANGUAGE.bin, .idx and .lineage.parquet."""
        return self.root / "tokens" / dataset

    def annotator(self, stage: str) -> Path:
        """annotator/head, scores, selected."""
        return self.root / "annotator" / stage

    def synthesis(self, stage: str) -> Path:
        """synthesis/responses (one JSON a request), documents (accepted, as shards)."""
        return self.root / "synthesis" / stage

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def metrics(self) -> Path:
        """A line a step."""
        return self.root / "metrics.jsonl"

    @property
    def saves(self) -> Path:
        """A line a checkpoint: how long training stood still for it."""
        return self.root / "saves.jsonl"

    @property
    def recipe_changes(self) -> Path:
        """A line for each time that the run went on under a changed recipe."""
        return self.root / "recipe_changes.jsonl"

    @property
    def held_out_metrics(self) -> Path:
        """A line a phase: held-out loss by language, bits per byte."""
        return self.root / "held_out.jsonl"

    @property
    def downstream_metrics(self) -> Path:
        """A line a checkpoint and benchmark that was evaluated while training."""
        return self.root / "downstream.jsonl"

    def downstream(self, step: int) -> Path:
        """downstream/step-00000128: results and logs of these evaluations."""
        return self.root / "downstream" / f"step-{step:08d}"

    @property
    def tensorboard(self) -> Path:
        """Event files, one a start."""
        return self.root / "tensorboard"

    @property
    def profile(self) -> Path:
        """What --profile and --memory-snapshot write: files a rank."""
        return self.root / "profile"

    @property
    def huggingface(self) -> Path:
        return self.root / "huggingface"

    @property
    def evaluation(self) -> Path:
        return self.root / "evaluation"

    @property
    def report(self) -> Path:
        return self.root / "report.html"
