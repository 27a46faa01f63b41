"""preprocess-data on what is large: one document of 100 MB, and ever more documents in the same memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megatron_snow.datasets import IndexedDataset, tokenize_texts
from megatron_snow.tokenizers import load_tokenizer


@pytest.mark.slow
def test_a_document_of_100_mb(code_documents: list[dict[str, Any]], code_tokenizer: Path, tmp_path: Path) -> None:
    code = "".join(document["content"] for document in code_documents)
    text = (code * (100_000_000 // len(code) + 1))[:100_000_000]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": each}) + "\n" for each in ("x = 1", text, "", "y")))
    counts = tokenize_texts([tmp_path / "a.jsonl"], code_tokenizer, tmp_path / "x", append_eod=True)
    dataset, tokenizer = IndexedDataset(tmp_path / "x_text_document"), load_tokenizer(code_tokenizer)
    assert counts["documents"] == 4
    assert dataset.document_indices.tolist() == [0, 1, 2, 2, 3]
    assert tokenizer.decode(np.asarray(dataset[1])) == text
    assert tokenizer.decode(np.asarray(dataset[2])) == "y"


@pytest.mark.slow
def test_memory_does_not_grow_with_the_corpus(code_documents: list[dict[str, Any]], code_tokenizer: Path, tmp_path: Path) -> None:
    """Eight times the text, the same peak (within the batches that are on their way)."""
    lines = "".join(json.dumps({"text": document["content"]}) + "\n" for document in code_documents)
    peaks = []
    for size in (30_000_000, 240_000_000):
        (tmp_path / "a.jsonl").write_text(lines * (size // len(lines)))
        script = [sys.executable, "-c", _RUN, str(tmp_path / "a.jsonl"), str(code_tokenizer), str(tmp_path / str(size))]
        peaks.append(int(subprocess.check_output(script, stderr=subprocess.DEVNULL)))
    assert peaks[1] < peaks[0] + 60_000  # kB


_RUN = """
import resource, sys
from pathlib import Path
from megatron_snow.datasets import tokenize_texts
source, model, prefix = map(Path, sys.argv[1:])
tokenize_texts([source], model, prefix)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
