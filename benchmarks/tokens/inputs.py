"""What the token benchmarks read: JSONL with the key `text`, and tokenizers trained on its first part.

The text is that of the fetched repositories, or where they are not fetched of the standard library and the installed packages.
"""

from __future__ import annotations

import json
import os
import random
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from benchmarks.corpus.inputs import INPUTS, texts
from megatron_snow.common.errors import UserError
from megatron_snow.common.files import atomic_file
from megatron_snow.tokenizers import train_byte_level, train_sentencepiece
from megatron_snow.tokenizers.tokenizer import SPACE_MARK

SENTENCEPIECE, BYTE_LEVEL = "sentencepiece-64000", "byte-level-49152"
_TRAINED_ON = 30_000_000  # characters
_LONGEST = 1_000_000  # bytes of a file
_ENDINGS = (".py", ".pyi", ".c", ".h", ".cpp", ".hpp", ".cuh", ".js", ".css", ".md", ".rst", ".sh", ".yaml")


def documents(megabytes: int) -> Path:
    """A JSONL file of this much text. Without texts that hold U+2581, which SentencePiece alone cannot tell from a space."""
    path = INPUTS / f"text-{megabytes}.jsonl"
    if not path.is_file():
        try:
            source: Iterator[str] = iter(texts(megabytes))
        except UserError:
            source = installed_texts(megabytes)
        with atomic_file(path) as file:
            for text in source:
                if SPACE_MARK not in text:
                    file.write(json.dumps({"text": text}) + "\n")
    return path


def installed_texts(megabytes: int) -> Iterator[str]:
    """Source files of this Python and its packages, in a seeded order; UserError where they are less."""
    folders = sorted({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})
    walks = (entry for folder in folders for entry in os.walk(folder))
    paths = sorted({Path(root, name) for root, _, names in walks for name in names if name.endswith(_ENDINGS)})
    random.Random(0).shuffle(paths)
    left = megabytes * 1_000_000
    for path in paths:
        data = path.read_bytes()
        if 0 < len(data) <= min(left, _LONGEST):
            text = data.decode("utf-8", "ignore")
            left -= len(text.encode())
            yield text
    if left > 0.1 * megabytes * 1_000_000:
        raise UserError(f"the installed packages have {megabytes - left // 1_000_000} MB of source; ask for less")


def model(name: str, megabytes: int) -> Path:
    """SENTENCEPIECE or BYTE_LEVEL, trained on the first documents of `documents(megabytes)`; made once."""
    path = INPUTS / f"{name}-{megabytes}" / ("tokenizer.model" if name == SENTENCEPIECE else "tokenizer.json")
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        train = train_sentencepiece if name == SENTENCEPIECE else train_byte_level
        train(_first(documents(megabytes)), int(name.rpartition("-")[2]), path)
    return path


def _first(path: Path) -> Iterator[str]:
    size = 0
    with open(path, encoding="utf-8") as file:
        for line in file:
            text = json.loads(line)["text"]
            yield text
            size += len(text)
            if size > _TRAINED_ON:
                return
