"""train_annotator, score_documents and select_top on real files with the real encoder."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from megatron_snow.annotator import score_documents, select_top, train_annotator
from megatron_snow.annotator.encoder import load_encoder
from megatron_snow.annotator.head import Head
from megatron_snow.annotator.sampling import draw
from megatron_snow.annotator.sections import sections_of
from megatron_snow.annotator.training import matches
from megatron_snow.cli.main import run_verb
from megatron_snow.common.errors import UserError
from megatron_snow.common.records import read_json
from megatron_snow.config import Recipe, Workspace
from megatron_snow.pipeline import read_documents, shards_in
from megatron_snow.tokenizers import load_tokenizer


@pytest.fixture(scope="session")
def annotated(corpus: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A run with all three stages done; treat it as read-only."""
    root = tmp_path_factory.mktemp("annotated")
    for name in ("corpus", "tokenizer"):
        (root / name).symlink_to(corpus / name)
    workspace = Workspace(root)
    for stage in (train_annotator, score_documents, select_top):
        stage(recipe, workspace)
    return workspace


def rows(folder: Path) -> list[dict]:
    return [row for shard in shards_in(folder) for row in read_documents(shard)]


def test_the_head_tells_code_from_tables(annotated: Workspace) -> None:
    report = read_json(annotated.annotator("head") / "head.json")
    assert report["held_out_auc"] > 0.9
    assert report["held_out_auc_by_language"]["Python"]["auc"] > 0.8
    assert report["pooling"] == "mean"
    assert len(report["documents"]) == 60


def test_a_score_is_the_mean_over_sections(annotated: Workspace, recipe: Recipe) -> None:
    encoder = load_encoder(recipe.annotator.encoder, 32, "bf16")
    head = Head.load(annotated.annotator("head") / "head.safetensors", encoder.width)
    scored = rows(annotated.annotator("scores"))
    assert len(scored) == recipe.annotator.score_documents
    for row in scored[:5]:
        (sections,) = sections_of([row["content"]], encoder)
        assert row["score"] == pytest.approx(head.score(encoder.embed(sections)).mean(), abs=5e-3)
    means = {name: np.mean([row["score"] for row in scored if row["repository"] == f"python:{name}"]) for name in ("asyncio", "encodings")}
    assert means["asyncio"] > means["encodings"] + 0.3


def test_a_larger_sample_holds_the_smaller(corpus: Path) -> None:
    shards = shards_in(Workspace(corpus).corpus("grouped"))
    small, large = (draw(shards, count, 1, "score", lambda repository: True) for count in (10, 40))
    assert list(large)[:10] == list(small)
    assert set(small) != set(draw(shards, 10, 2, "score", lambda repository: True))


def test_selected_documents_are_the_best_of_their_language(annotated: Workspace, recipe: Recipe) -> None:
    tokenizer = load_tokenizer(annotated.tokenizer_model)
    scored, selected = rows(annotated.annotator("scores")), rows(annotated.annotator("selected"))
    tokens: Counter[str] = Counter()
    for row in selected:
        tokens[row["language"]] += len(tokenizer.encode(row["content"])) + 1
    assert 0.8 * recipe.annotator.select_tokens < tokens.total() <= recipe.annotator.select_tokens
    sizes: Counter[str] = Counter()
    for row in rows(annotated.corpus("grouped")):
        sizes[row["language"]] += row["size"]
    assert tokens["Python"] / tokens.total() == pytest.approx(sizes["Python"] / sizes.total(), abs=0.15)
    best = max((row for row in scored if row["language"] == "Python"), key=lambda row: row["score"])
    assert best["id"] in {row["id"] for row in selected}


def test_rows_of_a_group_stand_together(annotated: Workspace) -> None:
    for shard in shards_in(annotated.annotator("selected")):
        groups = [row["group"] for row in read_documents(shard)]
        assert sum(a != b for a, b in pairwise(groups)) == len(set(groups)) - 1
        assert all(group.startswith(("Python/python:", "C/python:")) for group in groups)


@pytest.mark.slow
def test_two_processes_give_the_same_bytes(annotated: Workspace, recipe: Recipe, workspace: Workspace) -> None:
    for stage in (train_annotator, score_documents, select_top):
        stage(replace(recipe, workers=2), workspace)
    for name in ("head", "scores", "selected"):
        for path in annotated.annotator(name).glob("*.parquet"):
            assert path.read_bytes() == (workspace.annotator(name) / path.name).read_bytes()
    weights = Path("head") / "head.safetensors"
    assert (annotated.annotator("") / weights).read_bytes() == (workspace.annotator("") / weights).read_bytes()


def test_an_interrupted_scoring_goes_on_and_gives_the_same_bytes(annotated: Workspace, recipe: Recipe, workspace: Workspace) -> None:
    train_annotator(recipe, workspace)
    score_documents(recipe, workspace)
    scores = workspace.annotator("scores")
    kept = (scores / "C-00000.parquet").stat().st_mtime_ns
    (scores / "manifest.json").unlink()  # as after a kill between the two shards
    (scores / "Python-00000.parquet").unlink()
    again = score_documents(recipe, workspace)
    assert (scores / "C-00000.parquet").stat().st_mtime_ns == kept
    for shard in shards_in(scores):
        assert shard.read_bytes() == (annotated.annotator("scores") / shard.name).read_bytes()
    assert score_documents(recipe, workspace) == again


def test_patterns_of_repositories() -> None:
    assert matches("python:numpy", ["python:num*"])
    assert matches("python:numpy", ["python:numpy"])
    assert not matches("python:numpy", ["python:num", "debian:*"])


def test_unknown_positives_are_named(recipe: Recipe, workspace: Workspace) -> None:
    wrong = replace(recipe, annotator=replace(recipe.annotator, positives=("python:asyncoi",)))
    with pytest.raises(
        UserError, match=r"annotator.positives: .*gives 0 positives.*'python:asyncoi' names none; did you mean python:asyncio"
    ):
        train_annotator(wrong, workspace)


def test_scoring_needs_a_head(recipe: Recipe, workspace: Workspace) -> None:
    with pytest.raises(UserError, match=r"no trained head there; train the annotator first"):
        score_documents(recipe, workspace)


def test_a_missing_corpus_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = Path(__file__).parents[2] / "examples" / "recipes" / "tiny_cpu.yaml"
    assert run_verb("annotate_corpus", ["--recipe", str(recipe), "--output", str(tmp_path)]) == 2
    assert "no .parquet shards there" in capsys.readouterr().err
