"""What tests of several folders share: real code as shards, a small tokenizer, a pool of gloo processes, a tiny model and run."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import multiprocessing
import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("any machine", deadline=None)  # no test is timed: another process may have the cores
settings.load_profile("any machine")

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # these tests are of the CPU path, also where a GPU is

POOL_SIZE = 4
_PRELOADED = ["torch", "megatron_snow.engine", "megatron_snow.model"]  # imported once, in the server that forks the workers


class Workers:
    """Processes that stay between tests: importing torch and megatron-core takes seconds, joining a group milliseconds."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(_PRELOADED)
        self._processes: list[Any] = []
        self._connections: list[Connection] = []

    def run(self, size: int, function: Callable[..., Any], *args: Any, timeout: float = 300.0) -> list[Any]:
        """`function(*args)` on `size` ranks of a fresh process group; what each returns, by rank.

        The function must stand at the top level of its file. A failing or hanging rank ends the pool (the others may be waiting
        for it) and fails the test with the rank's traceback.
        """
        if not self._processes:
            self._start()
        with tempfile.TemporaryDirectory() as folder:
            for rank, connection in enumerate(self._connections[:size]):
                connection.send((rank, size, f"{folder}/store", inspect.getfile(function), function.__name__, args))
            return self._collect(size, timeout)

    def stop(self) -> None:
        """End all processes."""
        for process in self._processes:
            process.kill()
            process.join()
        self._processes, self._connections = [], []

    def _start(self) -> None:
        for _ in range(POOL_SIZE):
            here, there = self._context.Pipe()
            process = self._context.Process(target=_serve, args=(there,), daemon=True)
            process.start()
            there.close()
            self._processes.append(process)
            self._connections.append(here)

    def _collect(self, size: int, timeout: float) -> list[Any]:
        results: dict[int, Any] = {}
        waiting = {connection: rank for rank, connection in enumerate(self._connections[:size])}
        while waiting:
            for connection in wait(list(waiting), timeout) or [None]:
                failure, result = ("no answer in time", None) if connection is None else _receive(connection)
                if failure:
                    self.stop()
                    pytest.fail(f"rank {'?' if connection is None else waiting[connection]} of {size}: {failure}")
                results[waiting.pop(connection)] = result
        return [results[rank] for rank in range(size)]


def _receive(connection: Connection) -> tuple[str, Any]:
    try:
        return connection.recv()
    except EOFError:
        return "the process died", None


def _serve(connection: Connection) -> None:
    """A worker's life: a function each time, in a process group of its own."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    while True:
        try:
            rank, size, store, file, name, args = connection.recv()
        except EOFError:
            return
        try:
            dist.init_process_group("gloo", store=dist.FileStore(store, size), rank=rank, world_size=size)
            result = getattr(_load(file), name)(*args)
            dist.barrier()
            dist.destroy_process_group()
            connection.send(("", result))
        except BaseException:
            connection.send((traceback.format_exc(), None))


def _load(file: str) -> Any:
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def workers() -> Iterator[Workers]:
    """The pool: `workers.run(size, function, *args)`."""
    pool = Workers()
    yield pool
    pool.stop()


@pytest.fixture(scope="session")
def tiny_recipe() -> Callable[..., Any]:
    """tiny_recipe(processes=2, tensor=2, ..., precision="fp32", tie_embeddings=True) -> Recipe of a model of 4 layers.

    Its vocabulary, 130, is odd enough to leave padding on the last ranks of any split.
    """
    from megatron_snow.config import Curve, Model, Optimizer, Parallel, Phase, Recipe, Tokenizer, Training

    model = Model(
        num_layers=4, hidden_size=64, ffn_hidden_size=96, num_attention_heads=4, num_query_groups=2, seq_length=32, init_std=0.05
    )  # fmt: skip
    model_keys = {field.name for field in dataclasses.fields(Model)}
    training_keys = {field.name for field in dataclasses.fields(Training)}

    def build(**changes: Any) -> Recipe:
        chosen = {key: changes.pop(key) for key in list(changes) if key in model_keys}
        # eps 1e-5: at 1e-8 AdamW turns a gradient of rounding noise into a whole step, which hides what parity tests look for.
        training = {"optimizer": Optimizer(eps=1e-5), "global_batch_size": 8, "micro_batch_size": 2, "precision": "fp32"}
        training |= {key: changes.pop(key) for key in list(changes) if key in training_keys}
        return Recipe(
            name="tiny",
            workspace="runs/tiny",
            model=dataclasses.replace(model, **chosen),
            tokenizer=Tokenizer(vocab_size=130),
            training=Training(**training),
            phases=(Phase("general", data=(), tokens=1, lr=Curve("constant", 1e-3)),),
            parallel=Parallel(**changes),
        )

    return build


PACKAGES = ("asyncio", "concurrent", "email", "http", "importlib", "json", "logging", "multiprocessing", "unittest", "xml")


@pytest.fixture(scope="session")
def code_documents() -> list[dict[str, Any]]:
    """Real code, grouped: packages of the standard library as repositories, NumPy's headers as one in C."""
    import sysconfig

    import numpy

    from megatron_snow.common.checksums import text_digest

    def read(root: Path, pattern: str, repository: str, language: str) -> Iterator[dict[str, Any]]:
        for path in sorted(root.rglob(pattern)):
            content = path.read_text(encoding="utf-8")
            yield {
                "id": text_digest(content), "repository": repository, "path": path.relative_to(root).as_posix(), "language": language,
                "licence": "PSF-2.0" if language == "Python" else "BSD-3-Clause", "size": len(content.encode()), "provenance": path.name,
                "content": content, "group": f"{language}/{repository}",
            }  # fmt: skip

    stdlib = Path(sysconfig.get_path("stdlib"))
    documents = [document for name in PACKAGES for document in read(stdlib / name, "*.py", f"python:{name}", "Python")]
    return documents + list(read(Path(numpy.get_include()), "*.h", "python:numpy", "C"))


@pytest.fixture(scope="session")
def grouped_shards(code_documents: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of grouped shards: C-00000, Python-00000 and Python-00001, whose border cuts a group."""
    import pyarrow as pa

    from megatron_snow.pipeline import DOCUMENT, ShardWriter

    folder = tmp_path_factory.mktemp("corpus") / "grouped"
    folder.mkdir()
    python = [document for document in code_documents if document["language"] == "Python"]
    c = [document for document in code_documents if document["language"] == "C"]
    for name, rows in (("Python-00000", python[:100]), ("Python-00001", python[100:]), ("C-00000", c)):
        with ShardWriter(folder / f"{name}.parquet", DOCUMENT.append(pa.field("group", pa.string()))) as writer:
            for row in rows:
                writer.write(row)
    return folder


@pytest.fixture(scope="session")
def code_tokenizer(code_documents: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SentencePiece model of 1,024 pieces."""
    from megatron_snow.tokenizers import train_sentencepiece

    path = tmp_path_factory.mktemp("code_tokenizer") / "tokenizer.model"
    train_sentencepiece((document["content"] for document in code_documents), 1024, path)
    return path


@pytest.fixture(scope="session")
def byte_level_code_tokenizer(code_documents: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level tokenizer.json of 1,024 pieces."""
    from megatron_snow.tokenizers import train_byte_level

    path = tmp_path_factory.mktemp("byte_level_code_tokenizer") / "tokenizer.json"
    train_byte_level((document["content"] for document in code_documents), 1024, path)
    return path


# Eight steps in two phases; the second starts at step 6 with a fresh optimizer.
TINY_RUN = """
name: tiny
workspace: {workspace}
seed: 7
tokenizer: {{vocab_size: 1024}}
model: {{num_layers: 2, hidden_size: 32, ffn_hidden_size: 64, num_attention_heads: 4, num_query_groups: 2, seq_length: 32}}
training: {{global_batch_size: 4, micro_batch_size: 2, precision: fp32, save_interval: 2, keep_checkpoints: 2}}
phases:
  - name: first
    data: [{{dataset: general}}]
    tokens: 640
    lr: {{shape: cosine, peak: 5.0e-3, final: 5.0e-4, warmup_tokens: 256}}
  - name: second
    data: [{{dataset: general, share: 0.5}}, {{dataset: selected, share: 0.5}}]
    tokens: 384
    lr: {{shape: linear, peak: 5.0e-3, warmup_tokens: 128}}
    optimizer_state: reset
evaluation: {{benchmarks: [humaneval], held_out_sequences: 4}}
"""


@dataclasses.dataclass(frozen=True)
class TinyRun:
    """A recipe file and the workspace that holds its tokenizer and tokens."""

    recipe: Path
    workspace: Any


@pytest.fixture(scope="session")
def make_tiny_run(code_documents: list[dict[str, Any]], code_tokenizer: Path) -> Callable[[Path], TinyRun]:
    """make_tiny_run(folder): all that pretraining needs, for a model of 60 thousand parameters."""
    from megatron_snow.config import Workspace
    from megatron_snow.datasets import IndexedWriter, token_dtype
    from megatron_snow.tokenizers import load_tokenizer

    tokenizer = load_tokenizer(code_tokenizer)
    by_language = {
        language: [tokenizer.encode(document["content"]) for document in code_documents if document["language"] == language][:20]
        for language in ("Python", "C")
    }

    def make(folder: Path) -> TinyRun:
        workspace = Workspace(folder / "data")
        workspace.tokenizer_folder.mkdir(parents=True)
        shutil.copyfile(code_tokenizer, workspace.tokenizer_model)
        for dataset, languages in (("general", ("Python", "C")), ("selected", ("Python",)), ("held_out", ("Python", "C"))):
            workspace.tokens(dataset).mkdir(parents=True)
            for language in languages:
                with IndexedWriter(workspace.tokens(dataset) / language, token_dtype(tokenizer.vocab_size)) as writer:
                    for ids in by_language[language]:
                        writer.append([*ids, tokenizer.eod])
                        writer.end_document()
        recipe = folder / "recipe.yaml"
        recipe.write_text(TINY_RUN.format(workspace=workspace.root))
        return TinyRun(recipe, workspace)

    return make


@pytest.fixture(scope="session")
def tiny_run(make_tiny_run: Callable[[Path], TinyRun], tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """A tiny run that no test may change."""
    return make_tiny_run(tmp_path_factory.mktemp("tiny_run"))
