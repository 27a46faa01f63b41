"""The comparison cuts sequences as training does, counts the tokens that tokenization writes, and sees what a hand count sees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megatron_snow.cli.main import run_verb
from megatron_snow.common.records import read_json
from megatron_snow.config import Corpus, Source
from megatron_snow.corpus.grouping.comparison import STATISTICS, compare, cut_into_sequences, read_facts
from megatron_snow.corpus.grouping.placement import order_of
from megatron_snow.corpus.stages import collect, group
from megatron_snow.datasets import tokenize_shards, train_tokenizer
from megatron_snow.datasets.sample_index import SampleIndex
from megatron_snow.pipeline import shards_in
from tests.datasets.made import written


@pytest.mark.parametrize(("lengths", "seq_length"), [([5, 0, 7, 1, 1, 20, 3], 4), ([3, 3, 3], 9), ([3, 3, 4], 9), ([2], 9), ([], 9)])
def test_sequences_are_cut_as_training_cuts_them(lengths: list[int], seq_length: int, tmp_path: Path) -> None:
    """A document a group, in training's order of groups: piece by piece what the spans of a SampleIndex say."""
    ends = np.cumsum(np.array(lengths, np.int64))
    index = SampleIndex.open(written(tmp_path / "Python", lengths), seq_length=seq_length, key=17)
    stream = np.array([index.sequences(place) for place in range(len(lengths))], np.int64)
    pieces = cut_into_sequences(np.array(lengths, np.int64)[stream], seq_length)
    samples = [index.order(k) for k in range(len(index))]
    assert sorted(set(pieces.sequences.tolist())) == sorted(samples)
    for k, sequence in enumerate(samples):
        spans = index.spans(k)
        tokens = [token for span in spans for token in range(span.first_token, span.first_token + span.count)][:seq_length]
        documents = np.searchsorted(ends, tokens, side="right")  # of each input token of the sample
        mine = pieces.sequences == sequence
        expected = [int(row) for row, count in zip(stream[pieces.rows[mine]], pieces.tokens[mine]) for _ in range(count)]
        assert expected == documents.tolist()


def tokens_of(tmp_path: Path, write_shard: Callable[..., Path], *documents: tuple[str, str, int]) -> Any:
    """Documents given by repository, language and tokens, the separator's included."""
    rows = [
        {"repository": repository, "language": language, "path": f"{n}", "content": "x" * (size - 1)}
        for n, (repository, language, size) in enumerate(documents)
    ]
    shard = write_shard(tmp_path / "in" / "s.parquet", *rows)
    return read_facts([shard], lambda facts: facts["size"].to_numpy(), texts=False, file_order="random")


def test_statistics_are_those_of_a_hand_count(tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    """Two repositories of a sequence each (10 tokens): 6 of Python and 4 of JSON; the last token of all is a target alone."""
    documents = [(repository, language, size) for repository in "ab" for language, size in (("Python", 6), ("JSON", 4))]
    facts = tokens_of(tmp_path, write_shard, *documents, ("last", "Python", 1))
    stored = sorted(("a", "b", "last"), key=lambda name: order_of(1, name))
    permutations = np.array([stored.index(name) for name in ("a", "b", "last")])
    repo = compare(facts, 10, 1, "random", lambda n: permutations, ["repo"])["repo"]
    assert (repo["sequences"], repo["tokens"]) == (2, 20)
    assert repo["all"] == {"tokens": 20, "programming": 0.6, "language": 0.52, "repository": 1.0, "both": 0.52, "files": 2.0}
    assert repo["programming_tokens"] == {"tokens": 12, "programming": 0.6, "language": 0.6, "repository": 1.0, "both": 0.6, "files": 2.0}
    assert repo["tokens_a_programming_token"] == round(20 / 12, 4)
    by_language = compare(facts, 10, 1, "random", lambda n: np.arange(n), ["language-repo"])["language-repo"]
    assert by_language["sequences"] == 1  # of Python's 13 tokens; JSON's 8 are under one
    assert by_language["all"]["language"] == by_language["all"]["programming"] == by_language["tokens_a_programming_token"] == 1.0


def test_what_is_programming_is_linguists_to_say(tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    facts = tokens_of(tmp_path, write_shard, ("a", "C", 30), ("b", "HTML", 30), ("c", "YAML", 30), ("d", "", 30), ("e", "Shell", 30))
    report = compare(facts, 10, 1, "random", lambda n: np.arange(n), ["repo"])["repo"]
    assert report["sequences"] == 14  # of 150 tokens: the last is a target alone, and so its sequence is short
    assert report["programming_tokens"]["tokens"] in (50, 60)


def test_classes_hold_all_tokens(tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    documents = [("small", "C", 2), *(("large", language, 300) for language in ("C", "C++", "Go", "Rust")), ("end", "C", 50)]
    for report in compare(tokens_of(tmp_path, write_shard, *documents), 10, 1, "random", lambda n: np.arange(n)).values():
        for name in ("by_repository_sequences", "by_repository_languages"):
            assert sum(row["tokens"] for row in report[name].values()) == report["tokens"]
        assert report["by_repository_languages"]["up to 7"]["tokens"] > 1100
        assert report["by_repository_sequences"]["up to 0.25"]["tokens"] <= 2


def test_the_verb_counts_the_tokens_that_tokenization_writes(checkouts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    collect(Corpus(sources=(Source("folder", str(checkouts)),)), 1, tmp_path / "collected")
    collected = shards_in(tmp_path / "collected")
    train_tokenizer(collected, tmp_path / "tokenizer", vocab_size=600, train_bytes=200_000, seed=1)
    model = tmp_path / "tokenizer" / "tokenizer.model"
    group(Corpus(held_out_share=0.0), 1, collected, tmp_path / "grouped", tmp_path / "held")
    counts = tokenize_shards(shards_in(tmp_path / "grouped"), model, tmp_path / "tokens").counts
    arguments = ["--input", str(tmp_path / "collected"), "--seq-length", "512", "--output", str(tmp_path / "report.json")]
    assert run_verb("compare_groupings", [*arguments, "--tokenizer", str(model), "--file-order", "imports"]) == 0
    report = read_json(tmp_path / "report.json")["groupings"]
    datasets = [count for name, count in counts.items() if name.startswith("tokens:")]
    assert report["language-repo"]["sequences"] == sum((count - 1) // 512 for count in datasets if count)
    assert report["language-repo"]["all"]["language"] == report["file"]["all"]["language"] == 1.0
    assert report["repo"]["all"]["language"] <= report["repo-language"]["all"]["language"] < 1.0
    assert report["file"]["all"]["repository"] < report["language-repo"]["all"]["repository"]
    assert all(set(row["all"]) == {"tokens", *STATISTICS} for row in report.values())
    assert "language-repo" in capsys.readouterr().out


@pytest.mark.parametrize("file_order", ["random", "imports"])
def test_an_empty_corpus_has_no_sequences(tmp_path: Path, write_shard: Callable[..., Path], file_order: str) -> None:
    shard = write_shard(tmp_path / "s.parquet")
    arguments = ["--input", str(shard), "--output", str(tmp_path / "r.json"), "--file-order", file_order]
    assert run_verb("compare_groupings", arguments) == 0
    reports = read_json(tmp_path / "r.json")["groupings"]
    assert {report["sequences"] for report in reports.values()} == {0}
    assert reports["repo"]["tokens_a_programming_token"] is None


@pytest.mark.parametrize("option", [["--seq-length", "0"], ["--bytes-per-token", "0"]])
def test_bad_options(tmp_path: Path, write_shard: Callable[..., Path], capsys: pytest.CaptureFixture[str], option: list[str]) -> None:
    shard = write_shard(tmp_path / "s.parquet", {"content": "x"})
    assert run_verb("compare_groupings", ["--input", str(shard), "--output", str(tmp_path / "r.json"), *option]) == 2
    assert option[0] in capsys.readouterr().err
    assert not (tmp_path / "r.json").exists()
