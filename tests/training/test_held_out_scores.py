"""Phases x domains of a real run: in the loop, and after the fact for its checkpoints."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest

import megatron_snow
from megatron_snow.checkpoint import CheckpointStore
from megatron_snow.cli.main import run_verb
from megatron_snow.common.checksums import text_digest
from megatron_snow.common.errors import UserError
from megatron_snow.common.records import read_json_lines
from megatron_snow.common.roles import role_of
from megatron_snow.config import Evaluation, Workspace, load_recipe
from megatron_snow.datasets import IndexedDataset, Lineage, tokenize_shards
from megatron_snow.pipeline import DOCUMENT, ShardWriter
from megatron_snow.tokenizers import load_tokenizer
from megatron_snow.training.held_out_rows import DOCUMENTATION, documentation_rows, held_out_rows
from megatron_snow.training.held_out_scores import steps_to_score

ROOT = Path(megatron_snow.__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))[:6]


def write_split(folder: Path, shards: Path, documents: Sequence[dict[str, Any]], tokenizer: Path) -> None:
    """Tokens with a lineage, as the data steps write those of a split."""
    shards.mkdir()
    for language in dict.fromkeys(document["language"] for document in documents):
        with ShardWriter(shards / f"{language}-00000.parquet", DOCUMENT.append(pa.field("group", pa.string()))) as writer:
            for document in documents:
                if document["language"] == language:
                    writer.write(document)
    tokenize_shards(sorted(shards.glob("*.parquet")), tokenizer, folder)


def pages() -> list[dict[str, Any]]:
    """Documents of this repository, as a corpus that names Markdown holds them out."""
    found = []
    for path in PAGES:
        content = path.read_text(encoding="utf-8")
        facts = {"id": text_digest(content), "repository": "owner/megatron_snow", "path": f"docs/{path.name}", "language": "Markdown"}
        found.append({**facts, "size": len(content.encode()), "content": content, "group": "Markdown/owner/megatron_snow"})
    return found


class Finished(NamedTuple):
    """A trained run; its data hold out code of packages, C headers and Markdown."""

    recipe: Path
    output: Workspace
    data: Workspace
    code: list[dict[str, Any]]

    def options(self, *more: str) -> list[str]:
        return ["--recipe", str(self.recipe), "--output", str(self.output.root), "--set", *SETTINGS, *more]


SETTINGS = [f"evaluation.domains={{prose: '{ROOT / 'LICENSE'}'}}", "evaluation.domain_sequences=4"]


def verb(name: str, options: list[str]) -> str:
    """What a verb prints; run in a worker."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert run_verb(name, options) == 0
    return printed.getvalue()


@pytest.fixture(scope="module")
def finished(workers: Any, make_tiny_run: Callable[[Path], Any], code_documents: Any, tmp_path_factory: Any) -> Finished:
    folder = tmp_path_factory.mktemp("domains")
    run = make_tiny_run(folder)
    shutil.rmtree(run.workspace.tokens("held_out"))
    code = [*code_documents[:12], *(document for document in code_documents if document["language"] == "C")][:30]
    write_split(run.workspace.tokens("held_out"), folder / "held_out", [*code, *pages()], run.workspace.tokenizer_model)
    test = run.workspace.tokens("test")
    test.mkdir()
    (test / "Python.idx").write_bytes(b"whoever opens this fails")
    made = Finished(run.recipe, Workspace(folder / "run"), run.workspace, code)
    workers.run(1, verb, "pretrain", made.options())
    shutil.rmtree(test)
    write_split(test, folder / "test", code[:12], run.workspace.tokenizer_model)
    return made


def lines(finished: Finished) -> list[dict[str, Any]]:
    return list(read_json_lines(finished.output.held_out_metrics))


def mean(figures: dict[str, dict[str, float]]) -> tuple[int, float]:
    """(tokens, mean loss) over the names of a group."""
    tokens = sum(one["tokens"] for one in figures.values())
    return tokens, sum(one["tokens"] * one["loss"] for one in figures.values()) / tokens


def test_the_loop_writes_every_domain_at_the_end_of_each_phase(finished: Finished) -> None:
    assert [line["phase"] for line in lines(finished)] == ["first", "second"]
    for line in lines(finished):
        domains = line["domains"]
        assert domains["language"].keys() == line["losses"].keys() == {"Python", "C", "Markdown"}
        assert domains["source"].keys() == {"python", "repository"}
        assert domains["role"].keys() >= {"code", "documentation"}
        assert domains["text"].keys() == {"documentation", "prose"}
        assert {name: one["loss"] for name, one in domains["language"].items()} == line["losses"]
        assert domains["solutions"]["humaneval"]["bits_per_byte"] == line["bits_per_byte"]["humaneval"]
        for group in ("source", "role"):
            assert mean(domains[group]) == (3 * 4 * 32, pytest.approx(mean(domains["language"])[1], rel=1e-9))
        # Markdown is the one language with documentation here, and the one from elsewhere than Python's packages.
        assert domains["role"]["documentation"] == pytest.approx(domains["language"]["Markdown"])
        assert domains["source"]["repository"] == pytest.approx(domains["language"]["Markdown"])
        assert all(0.5 < one["bits_per_byte"] < 10 for group in domains.values() for one in group.values())


def test_scores_after_the_fact_are_those_of_the_loop(finished: Finished, workers: Any) -> None:
    printed = workers.run(1, verb, "score_domains", finished.options("--json"))[0]
    assert [json.loads(line) for line in printed.splitlines()] == lines(finished)


def test_two_processes_and_a_new_domain(finished: Finished, workers: Any) -> None:
    domain = f"guide={ROOT / 'docs' / '*.md'}"
    printed = workers.run(2, verb, "score_domains", finished.options("--json", "--checkpoint", "8", "--domain", domain))[0]
    (found,) = [json.loads(line) for line in printed.splitlines()]
    known = lines(finished)[1]
    assert found["domains"]["text"].pop("guide")["tokens"] > 100
    assert found["losses"] == pytest.approx(known["losses"], rel=1e-5)
    assert found["domains"]["text"]["prose"] == pytest.approx(known["domains"]["text"]["prose"], rel=1e-5)


@pytest.mark.slow
def test_torchrun_scores_in_the_recipes_layout(finished: Finished) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "-m", "megatron_snow", "score-domains"]
    options = finished.options("parallel.processes=2", "parallel.pipeline=2", "--json")
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=200, check=True)
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [line["losses"] for line in found] == [pytest.approx(line["losses"], rel=1e-5) for line in lines(finished)]


def test_the_test_split_and_the_table(finished: Finished, workers: Any) -> None:
    table = workers.run(1, verb, "score_domains", finished.options("--split", "test"))[0]
    assert "| bits per byte | | tokens | first (step 5) | second (step 8) |" in table
    assert "| nats a token |" in table
    rows = {tuple(cell.strip() for cell in row.split("|")[1:3]) for row in table.splitlines() if row.startswith("| ")}
    assert ("language", "Python") in rows
    assert ("language", "C") not in rows
    assert "documentation: the corpus has none held out" in table


def test_each_target_counts_to_its_file(finished: Finished) -> None:
    tokenizer = load_tokenizer(finished.data.tokenizer_model)
    for language in ("Python", "Markdown"):
        prefix = finished.data.tokens("held_out") / language
        data, lineage = IndexedDataset(prefix), Lineage(prefix)
        rows = held_out_rows(data, 5, 32, tokenizer)
        assert rows.numbers is not None
        firsts = np.linspace(0, data.num_tokens - 33, 5, dtype=np.int64)
        sizes = [0] * len(rows.kinds)
        for row, first in enumerate(firsts):
            for place in range(32):
                kind, file = int(rows.numbers[row, place]), lineage.at(int(first) + place + 1)
                role = role_of(file.path, file.language)
                source = "python" if file.repository.startswith("python:") else "repository"
                assert rows.kinds[kind].places == (("language", language), ("source", source), ("role", role))
                sizes[kind] += len(tokenizer.decode_bytes(data.read(int(first) + place + 1, 1)))
        assert [kind.num_bytes for kind in rows.kinds] == sizes


def test_documentation_is_the_held_out_pages_and_nothing_else(finished: Finished) -> None:
    tokenizer = load_tokenizer(finished.data.tokenizer_model)
    prefixes = [finished.data.tokens("held_out") / language for language in ("C", "Markdown", "Python")]
    rows = documentation_rows(prefixes, 7, 32, tokenizer)
    assert rows is not None
    assert rows.tokens.shape == (7, 33)
    text = "".join(path.read_text(encoding="utf-8") for path in PAGES)
    for row in rows.tokens:
        for piece in tokenizer.decode_bytes(row[:4]), tokenizer.decode_bytes(row[-4:]):
            assert piece.decode("utf-8", "ignore").strip("\ufffd") in text
    everything = documentation_rows(prefixes, 10**6, 32, tokenizer)
    assert everything is not None
    assert len(everything.tokens) == (IndexedDataset(prefixes[1]).num_tokens - 1) // 32
    assert everything.kinds[0].places == (DOCUMENTATION,)
    assert documentation_rows([prefixes[0], prefixes[2]], 7, 32, tokenizer) is None


def test_a_corpus_without_documentation_is_said_to_have_none(finished: Finished) -> None:
    from megatron_snow.training.held_out import read_sets

    tokenizer = load_tokenizer(finished.data.tokenizer_model)
    sets = read_sets(Evaluation(benchmarks=(), held_out_sequences=2), 32, finished.data, tokenizer, "test")
    assert sets[DOCUMENTATION] is None
    assert sets.keys() == {("language", "Python"), DOCUMENTATION}


def test_what_cannot_be_scored_is_told_before_any_weight_is_read(finished: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(name: str, *more: str) -> str:
        assert run_verb(name, finished.options(*more)) == 2
        return capsys.readouterr().err

    assert "no checkpoint of step 3; there are 5, 6, 8" in refused("score_domains", "--checkpoint", "3")
    assert "--domain prose: expected NAME=PATH" in refused("score_domains", "--domain", "prose")
    assert "evaluation.domains.documentation" in refused("score_domains", "--domain", f"documentation={ROOT / 'LICENSE'}")
    missing, told = "evaluation.domains={prose: missing/*.md}", "evaluation.domains.prose: missing/*.md: no such file"
    assert told in refused("score_domains", "--set", missing)
    assert told in refused("pretrain", "--check", "--set", missing, "--output", "elsewhere")


def test_the_ends_of_phases_and_the_beginning_are_scored_unless_others_are_asked_for(finished: Finished, tmp_path: Path) -> None:
    store, recipe = CheckpointStore(tmp_path, keep=9), load_recipe(finished.recipe)
    with pytest.raises(UserError, match="no phase has ended; there are none"):
        steps_to_score(recipe, store, [])
    for step in (0, 2, 5, 6):
        store.save(step, lambda folder: None, {}, keep_forever=True)
    assert steps_to_score(recipe, store, []) == [0, 5]
    assert steps_to_score(recipe, store, [6, 2, 6]) == [2, 6]
    with pytest.raises(UserError, match="no checkpoint of step 3, 8; there are 0, 2, 5, 6"):
        steps_to_score(recipe, store, [3, 5, 8])


def test_the_recipe_takes_domains(finished: Finished) -> None:
    assert load_recipe(finished.recipe, SETTINGS).evaluation.domains == {"prose": str(ROOT / "LICENSE")}
