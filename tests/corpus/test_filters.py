"""Each rule at its boundary, and the counts of a filtered shard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from megatron_snow.config import Corpus
from megatron_snow.corpus.filters.rules import Filters, rule_against, visible_characters
from megatron_snow.corpus.stages import filter_documents
from megatron_snow.pipeline import read_documents

FILTERS = Filters()
SHORT = "x = 1\n"


@pytest.mark.parametrize(
    ("content", "language", "rule"),
    [
        (SHORT, "Python", ""),
        (SHORT * 200 + "y" * 1000, "Python", ""),
        (SHORT * 200 + "y" * 1001, "Python", "max_line_length"),
        ("a" * 100 + "\n" + "b" * 100 + "\n", "Python", ""),
        ("a" * 100 + "\n" + "b" * 101 + "\n", "Python", "mean_line_length"),
        ("abc" + "=" * 9, "Python", ""),  # exactly a quarter
        ("abc" + "=" * 10, "Python", "min_alphanumeric"),
        ("äöü" + "=" * 10, "Python", "min_alphanumeric"),
        ("äöü" + "=" * 9, "Python", ""),  # letters are letters in every script
        ('<?xml version="1.0"?>\n<a>text</a>', "XML", "xml_head"),
        ('<?xml version="1.0"?>\n<xsl:stylesheet/>', "XSLT", ""),
        ("x" * 90 + '\n\n<?xml version="1.0"?>', "XML", ""),  # ends beyond the first 100 characters
        ("x" * 49, "JSON", "json_yaml_size"),
        ("x" * 50, "JSON", ""),
        ("word\n" * 1000, "YAML", ""),
        ("word\n" * 1000 + "x", "YAML", "json_yaml_size"),
        ("<p>" + "w" * 100 + "</p>", "HTML", "min_html_text"),
        ("<p>" + "w" * 101 + "</p>", "HTML", ""),
        ("<p>" + "word " * 30 + "</p>" + "<i></i>\n" * 200, "HTML", "min_html_text"),  # 9 % visible
    ],
)
def test_rules_at_their_boundaries(content: str, language: str, rule: str) -> None:
    # The mean line length is not at stake where one long line or one tag is.
    filters = replace(FILTERS, mean_line_length=0) if language == "HTML" else FILTERS
    assert rule_against(content, language, filters) == rule


def test_zero_switches_rules_off() -> None:
    off = Filters(0, 0, 0.0, False, 0.0, 0, 0)
    for content, language in (("y" * 5000, "Python"), ("=" * 9, "Python"), ("<?xml version=", "XML"), ("<p></p>", "HTML"), ("", "JSON")):
        assert rule_against(content, language, off) == ""


def test_scripts_and_styles_are_not_visible() -> None:
    assert visible_characters("<style>p {}</style><script>var x;</script><p>two  words</p>") == len("two words")


def test_filtered_shard_counts_every_drop_by_rule_and_language(tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    shard = write_shard(
        tmp_path / "in" / "s.parquet",
        {"content": SHORT},
        {"content": "y" * 1001},
        {"content": "z" * 1002},
        {"content": "q" * 9, "language": "JSON"},
    )
    manifest = filter_documents(Corpus(), [shard], tmp_path / "out")
    assert [document["content"] for document in read_documents(tmp_path / "out" / "s.parquet")] == [SHORT]
    assert manifest.counts == {
        "bytes": 6 + 1001 + 1002 + 9,
        "documents": 4,
        "dropped:json_yaml_size": 1,
        "dropped:json_yaml_size:JSON": 1,
        "dropped:max_line_length": 2,
        "dropped:max_line_length:Python": 2,
        "kept": 1,
        "kept:Python": 1,
        "kept_bytes": 6,
        "kept_bytes:Python": 6,
    }
