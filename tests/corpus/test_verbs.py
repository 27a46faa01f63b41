"""The corpus verbs, from a folder of checkouts to grouped shards, and their messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_snow.cli.main import run_verb
from megatron_snow.common.records import read_manifest
from megatron_snow.pipeline import read_documents, shards_in

RECIPE = """
name: small
workspace: {workspace}
workers: 1
corpus:
  sources: [{{kind: folder, path: {checkouts}}}]
  max_bytes: 400000
model: {{num_layers: 1, hidden_size: 8, ffn_hidden_size: 8, num_attention_heads: 1, num_query_groups: 1, seq_length: 16}}
tokenizer: {{vocab_size: 300}}
training: {{global_batch_size: 1, micro_batch_size: 1}}
phases: [{{name: general, data: [{{dataset: general}}], tokens: 16, lr: {{shape: constant, peak: 1.0e-3}}}}]
"""
VERBS = ("collect_corpus", "filter_corpus", "deduplicate_corpus", "redact_corpus", "decontaminate_corpus", "group_corpus")


def test_files_in_folder_out(checkouts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(tmp_path / name) for name in ("collected", "filtered", "deduplicated", "clean", "grouped")]
    assert run_verb("collect_corpus", ["--source", f"folder:{checkouts}", "--languages", "Python", "--output", folders[0]]) == 0
    assert run_verb("filter_corpus", ["--input", folders[0], "--output", folders[1], "--threshold", "long_line=120"]) == 0
    assert run_verb("deduplicate_corpus", ["--input", f"{folders[1]}/*.parquet", "--output", folders[2], "--threshold", "0.9"]) == 0
    assert run_verb("decontaminate_corpus", ["--input", folders[2], "--output", folders[3], "--benchmarks", "humaneval"]) == 0
    assert run_verb("group_corpus", ["--input", folders[3], "--output", folders[4], "--held-out-share", "0.1", "--seed", "7"]) == 0
    assert "dropped by long_line" in capsys.readouterr().out
    filtered = read_manifest(Path(folders[1]))
    assert filtered is not None
    rules = {rule["name"]: rule["threshold"] for rule in filtered.parameters["profile"]["rules"]}
    assert rules["long_line"] == 120
    rows = [row for shard in shards_in(Path(folders[4])) for row in read_documents(shard)]
    assert {row["language"] for row in rows} == {"Python"}
    assert {"group", "cluster_id"} <= set(rows[0])
    assert shards_in(tmp_path / "held_out")


def test_recipe_runs_in_its_workspace(checkouts: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "small.yaml"
    recipe.write_text(RECIPE.format(workspace=tmp_path / "run", checkouts=checkouts))
    for verb in VERBS:
        assert run_verb(verb, ["--recipe", str(recipe)]) == 0
    manifests = [read_manifest(tmp_path / "run" / "corpus" / name) for name in ("collected", "filtered", "deduplicated", "decontaminated")]
    kept = [manifest.counts["kept"] for manifest in manifests if manifest]
    assert len(kept) == 4
    assert kept == sorted(kept, reverse=True)
    assert shards_in(tmp_path / "run" / "corpus" / "grouped")


@pytest.mark.parametrize(
    ("verb", "arguments", "message"),
    [
        ("collect_corpus", ["--output", "out"], "give --source KIND"),
        ("collect_corpus", ["--source", "foldr:x", "--output", "out"], "did you mean folder?"),
        ("collect_corpus", ["--source", "folder:nowhere", "--output", "out"], "folder nowhere: no such folder"),
        ("collect_corpus", ["--source", "folder", "--output", "out"], "corpus.sources[0].path: missing"),
        ("collect_corpus", ["--source", "python", "--max-language-share", "0.4", "--output", "out"], "share of corpus.max_bytes"),
        ("filter_corpus", ["--output", "out"], "give --recipe FILE, or --input GLOB and --output DIR"),
        ("filter_corpus", ["--input", "nowhere", "--output", "out"], "--input nowhere: no such file"),
        ("filter_corpus", ["--input", "bad.parquet", "--output", "out"], "bad.parquet: damaged shard"),
        ("filter_corpus", ["--input", "bad.parquet", "--output", "out", "--workers", "0"], "--workers 0"),
        ("deduplicate_corpus", ["--input", "bad.parquet", "--output", "out", "--threshold", "2"], "threshold: 2.0 is not in (0, 1]"),
        ("decontaminate_corpus", ["--input", "bad.parquet", "--output", "out", "--benchmarks", "humanevil"], "did you mean humaneval?"),
        ("group_corpus", ["--input", "bad.parquet", "--output", "out", "--held-out", "out"], "is --output itself"),
    ],
)
def test_mistakes_get_one_message(
    verb: str, arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.parquet").write_bytes(b"PAR1 not really")
    assert run_verb(verb, arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("error: ") == 1
    assert "Traceback" not in error
    assert not list(Path().glob("out/*.parquet"))
