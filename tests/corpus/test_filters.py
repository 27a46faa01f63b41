"""Each rule of each profile at its boundary, and the stage that applies them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from megatron_snow.common.records import read_json_lines
from megatron_snow.config import Corpus, Filters
from megatron_snow.corpus.filters import Profile, load_profile, profile_names
from megatron_snow.corpus.filters.rules import verdicts
from megatron_snow.corpus.stages import filter_documents
from megatron_snow.pipeline import read_documents

SHORT = "x = 1\n"


def batch_of(*documents: tuple[str, str, str]) -> pa.Table:
    """(content, language, path)"""
    content, language, path = zip(*documents)
    return pa.table({"id": [str(n) for n in range(len(documents))], "path": path, "language": language, "content": content})


def verdict_of(profile: Profile, content: str, language: str, path: str = "a.txt") -> str:
    return verdicts(profile, batch_of((content, language, path)))[0].as_py()


def gram(words: int, characters: int) -> str:
    """That many different words of that many letters together."""
    short, rest = divmod(characters, words)
    return " ".join(chr(ord("a") + k) * (short + (k < rest)) for k in range(words))


def twice(words: int, characters: int, total: int) -> str:
    """A gram that occurs twice among other words, all words together `total` characters."""
    rest = total - 2 * characters
    others = [f"{n:02d}" for n in range(rest // 2)] + ["z"] * (rest % 2)
    return " ".join([gram(words, characters), *others[1:], gram(words, characters), *others[:1]])


def lines_of(marked: str, count: int, total: int) -> str:
    return "".join(marked if n < count else f"x{n} = f(y{n})\n" for n in range(total))


# rule: (language, text that it just keeps, text that it just drops)
CASES: dict[str, dict[str, tuple[str, str, str]]] = {
    "starcoder": {
        "xml_head": ("XML", "x" * 87 + "<?xml version=", "x" * 86 + "<?xml version="),
        "json_yaml_small": ("JSON", "x" * 50, "x" * 49),
        "json_yaml_large": ("YAML", "word\n" * 1000, "word\n" * 1000 + "x"),
        "json_yaml_few_letters": ("JSON", "a{", "a{{"),
        "long_line": ("Python", SHORT + "y" * 1000, SHORT + "y" * 1001),
        "long_lines": ("Python", "a" * 100 + "\n" + "b" * 100, "a" * 100 + "\n" + "b" * 101),
        "few_alphanumeric": ("Python", "äö1" + "=" * 9, "äö1" + "=" * 10),
        "few_letters": ("Scheme", "a" + "1" * 3, "a" + "1" * 4),
        "html_little_text": ("HTML", "w" * 20 + "<" + "i" * 78 + ">", "w" * 20 + "<" + "i" * 79 + ">"),
        "html_short_text": ("HTML", "<p>" + "w" * 101 + "</p>", "<p>" + "w" * 100 + "</p>"),
    },
    "starcoder2": {
        "many_lines": ("C", "x\n" * 100_000, "x\n" * 100_001),
        "long_line": ("C", "y" * 1000, "y" * 1001),
        "long_lines": ("C", "a" * 100 + "\n" + "b" * 100, "a" * 100 + "\n" + "b" * 101),
        "very_long_line": ("Markdown", "y" * 100_000, "y" * 100_001),
        "auto_generated": ("C", "\n" * 5 + "/* Auto-generated */", "\n" * 4 + "/* Auto-generated */"),
        "few_letters": ("C", "a===", "a===="),
        "few_alphanumeric": ("WebAssembly", "1===", "1===="),
        "encoded_run": ("C", "a" * 1024, "a" * 1025),
        "encoded_share": ("C", "a" * 64 + " " * 64, "a" * 65 + " " * 64),
        "data_lines": ("Web Ontology Language", "x\n" * 512, "x\n" * 513),
        "html_short_text": ("HTML", "<p>" + "w" * 100 + "</p>", "<p>" + "w" * 99 + "</p>"),
        "html_little_text": ("HTML", "w" * 20 + "<" + "i" * 78 + ">", "w" * 20 + "<" + "i" * 79 + ">"),
    },
    "opencoder-python": {
        "large": ("Python", "x" * 3_000_000, "x" * 3_000_001),
        "replacement_characters": ("Python", "x" * 99 + "\ufffd", "x" * 98 + "\ufffd"),
        "few_characters": ("Python", "é" * 50, "é" * 49),
        "few_lines": ("Python", "x\n" * 10, "x\n" * 9),
        "many_lines": ("Python", "x\n" * 100_000, "x\n" * 100_001),
        "long_line": ("Python", "y" * 1000, "y" * 1001),
        "short_lines": ("Python", "abcde\n" * 3, "abcde\nabcd\n"),
        "long_lines": ("Python", "a" * 100 + "\n" + "b" * 100, "a" * 100 + "\n" + "b" * 101),
        "few_letters": ("Python", "a 1", "a 11"),
        "many_digits": ("Python", "abcd  1", "abc  1"),
        "much_blank": ("Python", "ab \n", "a \n"),
        "xml_head": ("Python", "x" * 87 + "<?xml version=", "x" * 86 + "<?xml version="),
        "auto_generated": ("Python", "#" * 193 + "GENERATE", "#" * 192 + "GENERATE"),
        "encoded_run": ("Python", "a" * 1024, "a" * 1025),
        "encoded_share": ("Python", "a" * 64 + " " * 64, "a" * 65 + " " * 64),
        "few_words": ("Python", "a_b " * 15, "a_b " * 14 + "a"),
        "short_words": ("Python", "abc a", "ab a"),
        "long_words": ("Python", "a" * 10, "a" * 11),
        "top_2gram": ("Python", twice(2, 2, 20), twice(2, 2, 19)),
        "top_3gram": ("Python", twice(3, 9, 100), twice(3, 9, 99)),
        "top_4gram": ("Python", twice(4, 8, 100), twice(4, 8, 99)),
        "repeated_5gram": ("Python", twice(5, 20, 50), twice(5, 20, 49)),
        "repeated_6gram": ("Python", twice(6, 35, 100), twice(6, 35, 99)),
        "repeated_7gram": ("Python", twice(7, 35, 100), twice(7, 35, 99)),
        "repeated_8gram": ("Python", twice(8, 35, 100), twice(8, 35, 99)),
        "repeated_9gram": ("Python", twice(9, 35, 100), twice(9, 35, 99)),
        "repeated_10gram": ("Python", twice(10, 30, 100), twice(10, 30, 99)),
        "much_comment": ("Python", "x\n#2345678", "x\n#23456789"),
        "repeated_lines": ("Python", lines_of("again()\n", 7, 10), lines_of("again()\n", 8, 11)),
        "long_strings": ("Python", lines_of("s = '" + "w " * 21 + "'\n", 1, 5), lines_of("s = '" + "w " * 21 + "'\n", 1, 4)),
        "much_string": ("Python", "x='aaaaaa'", "x='aaaaaaa'"),
        "long_words_in_strings": ("Python", "'" + "w" * 40 + "'" + "x" * 58, "'" + "w" * 40 + "'" + "x" * 57),
        "hexadecimal": ("Python", "0xAB+abcde", "0xAB+abcd"),
        "unfinished": ("Python", "# TODO\n" + "x\n" * 98, "# TODO\n" + "x\n" * 97),
        "asserts": ("Python", lines_of("assert x\n", 2, 5), lines_of("assert x\n", 3, 7)),
        "passes": ("Python", lines_of("pass\n", 1, 20), lines_of("pass\n", 1, 19)),
        "imports": ("Python", lines_of("import x\n", 3, 10), lines_of("import x\n", 4, 13)),
        "prints": ("Python", lines_of("print(x)\n", 2, 5), lines_of("print(x)\n", 3, 7)),
        "does_not_parse": ("Python", "x = ()", "x = ("),
        "no_variables": ("Python", "x = f()", "x: int = f()"),
        "definitions": ("Python", "def f():\n x\n y\n z\n a\n", "def f():\n x\n y\n z\n"),
        "trivial_functions": ("Python", "def f(): return 1\n" + "x\n" * 9, "def f(): return 1\n" + "x\n" * 8),
        "no_logic": ("Python", "class A:\n b = 1\n f()\n g()\n", "class A:\n b = 1\n f()\n"),
    },
}
BY_PATH = {"starcoder2": {"generated", "text_by_name"}}  # tests of their own


@pytest.mark.parametrize(("profile", "rule"), [(profile, rule) for profile, cases in CASES.items() for rule in cases])
def test_rules_at_their_boundaries(profile: str, rule: str) -> None:
    """By itself, as another rule of the profile may be stricter about the same text."""
    whole = load_profile(profile)
    alone = replace(whole, rules=tuple(replace(known, share=1.0) for known in whole.rules if known.name == rule))
    language, kept, dropped = CASES[profile][rule]
    assert verdict_of(alone, kept, language) == ""
    assert verdict_of(alone, dropped, language) == rule


def test_every_rule_has_a_case_and_a_source() -> None:
    assert set(CASES) == set(profile_names())
    for name in profile_names():
        profile = load_profile(name)
        assert [rule.name for rule in profile.rules if not rule.source] == []
        assert {rule.name for rule in profile.rules} == set(CASES[name]) | BY_PATH.get(name, set())


@pytest.mark.parametrize(
    ("path", "content", "rule"),
    [
        ("a.go", "// Code generated by mockgen. DO NOT EDIT.\n\npackage a\n", "generated"),
        ("a.go", "// Code written by hand.\n\npackage a\n", ""),
        ("a.min.js", "a;" * 300, "generated"),
        ("package-lock.json", "{}", "generated"),
        ("package.json", '{"name": "a"}', ""),
    ],
)
def test_go_enry_knows_generated_files(path: str, content: str, rule: str) -> None:
    profile = load_profile("starcoder2")
    alone = replace(profile, rules=tuple(known for known in profile.rules if known.name == "generated"))
    assert verdict_of(alone, content, "Go", path) == rule


@pytest.mark.parametrize(
    ("path", "rule"),
    [("README.md", ""), ("docs/Notes", ""), ("requirements-dev.txt", ""), ("CMakeLists.txt", ""), ("letter.txt", "text_by_name")],
)
def test_text_files_go_by_name(path: str, rule: str) -> None:
    assert verdict_of(load_profile("starcoder2"), "some words\n", "Text", path) == rule
    assert verdict_of(load_profile("starcoder2"), "some words\n", "Markdown", "letter.txt") == ""


@pytest.mark.parametrize(
    ("profile", "content", "language", "rule"),
    [
        ("starcoder", '<?xml version="1.0"?>\n<xsl:stylesheet/>', "XSLT", ""),
        ("starcoder", "word " * 300, "Markdown", ""),
        ("starcoder", "1,2,3;4,5,6;" * 9, "MATLAB", "few_letters"),
        ("starcoder2", "word " * 300, "Markdown", ""),
        ("starcoder2", "word " * 300, "", "long_line"),  # not known: no exception holds
        ("starcoder2", "i32.const 1024\n" + "0 " * 40, "WebAssembly", ""),
        ("opencoder-python", "y" * 2000, "Java", ""),
        ("opencoder-python", "y" * 2000, "Python", "few_lines"),
    ],
)
def test_languages_have_their_exceptions(profile: str, content: str, language: str, rule: str) -> None:
    assert verdict_of(load_profile(profile), content, language) == rule


def test_the_first_rule_in_the_profiles_order_counts_and_batches_change_nothing() -> None:
    profile = load_profile("starcoder2")
    documents = [
        ("y" * 1001 + "\n" + "=" * 5000, "C", "a.c"),  # long line, long lines, few letters
        ("int x;\n", "C", "b.c"),
        ("", "C", "empty.c"),
        ("=" * 500 + "\n" * 20, "C", "c.c"),
    ]
    together = verdicts(profile, batch_of(*documents)).to_pylist()
    assert together == ["long_line", "", "", "few_letters"]
    assert together == [verdicts(profile, batch_of(document))[0].as_py() for document in documents]
    assert verdicts(profile, batch_of(*documents[1:]).slice(1)).to_pylist() == together[2:]


def test_a_share_is_chosen_by_the_documents_id() -> None:
    whole = load_profile("opencoder-python")
    rule = next(rule for rule in whole.rules if rule.name == "no_logic")
    content = CASES["opencoder-python"]["no_logic"][2]
    table = pa.table(
        {"id": [f"{n:x}" for n in range(2000)], "path": ["a.py"] * 2000, "language": ["Python"] * 2000, "content": [content] * 2000}
    )
    found = verdicts(replace(whole, rules=(rule,)), table).to_pylist()
    assert abs(found.count("no_logic") / 2000 - 0.8) < 0.03  # three standard deviations
    assert verdicts(replace(whole, rules=(rule,)), table.slice(700)).to_pylist() == found[700:]


def test_filtered_shard_counts_every_drop_and_keeps_a_sample(tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    shard = write_shard(
        tmp_path / "in" / "s.parquet",
        {"content": SHORT},
        {"content": "y" * 1001},
        {"content": "z" * 1002},
        {"content": "q" * 9, "language": "JSON"},
    )
    manifest = filter_documents(Corpus(filters=Filters(rejects=1)), [shard], tmp_path / "out")
    assert [document["content"] for document in read_documents(tmp_path / "out" / "s.parquet")] == [SHORT]
    assert manifest.counts == {
        "bytes": 6 + 1001 + 1002 + 9,
        "documents": 4,
        "dropped:json_yaml_small": 1,
        "dropped:json_yaml_small:JSON": 1,
        "dropped:long_line": 2,
        "dropped:long_line:Python": 2,
        "kept": 1,
        "kept:Python": 1,
        "kept_bytes": 6,
        "kept_bytes:Python": 6,
    }
    samples = {path.name: list(read_json_lines(path)) for path in (tmp_path / "out" / "rejects").iterdir()}
    assert samples.keys() == {"json_yaml_small.jsonl", "long_line.jsonl"}
    assert [len(rows) for rows in samples.values()] == [1, 1]


def test_thresholds_replace_the_profiles_and_are_part_of_the_key(tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    shard = write_shard(tmp_path / "in" / "s.parquet", {"content": SHORT}, {"content": "y" * 1001})
    strict = filter_documents(Corpus(filters=Filters(thresholds={"long_line": 4})), [shard], tmp_path / "out")
    assert strict.counts["dropped:long_line"] == 2
    off = filter_documents(
        Corpus(filters=Filters(thresholds={"long_line": float("inf"), "long_lines": float("inf")})), [shard], tmp_path / "out"
    )
    assert off.counts["kept"] == 2
    assert not list((tmp_path / "out" / "rejects").iterdir())


def test_jsonl_without_languages_and_a_profile_of_ones_own(tmp_path: Path) -> None:
    source, profile = tmp_path / "d.jsonl", tmp_path / "mine.yaml"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in (SHORT, "y" * 20, "")))
    profile.write_text("rules: [{name: wide, drop: longest_line > 10}, {name: void, drop: characters < 1, only: [Python]}]\n")
    manifest = filter_documents(Corpus(filters=Filters(profile=str(profile))), [source], tmp_path / "out")
    assert [document["content"] for document in read_documents(tmp_path / "out" / "d.parquet")] == [SHORT, ""]
    assert manifest.counts["dropped:wide"] == 1


def test_a_profile_can_drop_other_languages(tmp_path: Path) -> None:
    profile = tmp_path / "c.yaml"
    profile.write_text("languages: [C]\nothers: drop\nrules: [{name: wide, drop: longest_line > 10}]\n")
    loaded = load_profile(str(profile))
    assert [verdict_of(loaded, "x", language) for language in ("C", "Python", "")] == ["", "other_language", "other_language"]
