"""The stage: shards in, shards and logs out; code still parses; the verb."""

from __future__ import annotations

import ast
import json
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from megatron_snow.cli.main import run_verb
from megatron_snow.common.checksums import text_digest
from megatron_snow.config import Corpus, Redaction
from megatron_snow.corpus.redaction import redact, redact_text
from megatron_snow.corpus.redaction.stage import LOG
from megatron_snow.pipeline import Execution, read_documents

TEXT = "# ann@acme.org\nHOST = '93.184.216.34'\n"
CLEAN = "print('hello')\n"


def logged(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for path in sorted(folder.glob(f"*{LOG}")) for line in path.read_text(encoding="utf-8").splitlines()]


def test_shard_is_redacted_and_logged(tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    shard = write_shard(
        tmp_path / "in" / "s.parquet",
        {"content": CLEAN, "sha256": "aa"},
        {"content": TEXT, "path": "b.py", "sha256": "bb", "stars": 7},
        {"content": "", "language": "C"},
        {"content": "/* größe bob@acme.org */", "path": "c.c", "language": "C"},
    )
    manifest = redact(Corpus(), [shard], tmp_path / "out")
    rows = list(read_documents(tmp_path / "out" / "s.parquet"))
    assert [row["content"] for row in rows] == [
        CLEAN, "# user1@example.com\nHOST = '192.0.2.1'\n", "", "/* größe user1@example.com */"
    ]  # fmt: skip
    assert all(row["id"] == text_digest(row["content"]) and row["size"] == len(row["content"].encode()) for row in rows)
    assert [row["sha256"] for row in rows[:2]] == ["aa", "bb"]  # of the file's bytes, as it was
    assert rows[1]["stars"] == 7
    log = logged(tmp_path / "out")
    assert [(row["path"], row["kind"], row["line"], row["start"], row["end"]) for row in log] == [
        ("b.py", "email", 1, 2, 14), ("b.py", "ipv4", 2, 23, 36), ("c.c", "email", 1, 9, 21)
    ]  # fmt: skip
    assert log[0]["id"] == text_digest(TEXT)
    assert log[0]["new_id"] == rows[1]["id"]
    text = (tmp_path / "out" / f"s{LOG}").read_text()
    assert not any(value in text for value in ("ann", "bob@acme", "93.184"))
    counts = {key: count for key, count in manifest.counts.items() if key.startswith("redacted")}
    assert counts == {
        "redacted:email": 2, "redacted:email:C": 1, "redacted:email:Python": 1, "redacted:ipv4": 1, "redacted:ipv4:Python": 1,
        "redacted_documents": 2,
    }  # fmt: skip
    assert manifest.counts["kept"] == manifest.counts["documents"] == 4
    assert not [key for key in manifest.counts if key.startswith("dropped")]


def test_foreign_columns_and_nulls_and_a_second_pass(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps({"text": TEXT, "lang": None, "score": 0.5}) + "\n" + json.dumps({"text": None}) + "\n")
    redact(Corpus(), [source], tmp_path / "once")
    manifest = redact(Corpus(), [tmp_path / "once" / "in.parquet"], tmp_path / "twice")
    rows = list(read_documents(tmp_path / "once" / "in.parquet"))
    assert [row["score"] for row in rows] == [0.5, None]
    assert rows[0]["content"].startswith("# user1@example.com")
    assert rows == list(read_documents(tmp_path / "twice" / "in.parquet"))
    assert logged(tmp_path / "twice") == []
    assert "redacted_documents" not in manifest.counts


def test_output_does_not_depend_on_workers(tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    shards = [write_shard(tmp_path / "in" / f"{n}.parquet", {"content": TEXT * n}, {"content": CLEAN}) for n in range(1, 4)]
    one, two = (redact(Corpus(), shards, tmp_path / name, Execution("pool", workers)) for name, workers in (("one", 1), ("two", 2)))
    assert one.outputs == two.outputs


def test_settings_are_part_of_the_key(tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    shard = write_shard(tmp_path / "in" / "s.parquet", {"content": TEXT})
    first = redact(Corpus(), [shard], tmp_path / "out")
    second = redact(Corpus(redaction=Redaction(emails=False)), [shard], tmp_path / "out")
    assert first.key != second.key
    assert next(iter(read_documents(tmp_path / "out" / "s.parquet")))["content"] == "# ann@acme.org\nHOST = '192.0.2.1'\n"


def test_verb(tmp_path: Path, write_shard: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    shard = write_shard(tmp_path / "in" / "s.parquet", {"content": TEXT})
    assert run_verb("redact_corpus", ["--input", str(shard), "--output", str(tmp_path / "out"), "--no-addresses"]) == 0
    assert "1  email replaced" in capsys.readouterr().out
    assert next(iter(read_documents(tmp_path / "out" / "s.parquet")))["content"] == "# user1@example.com\nHOST = '93.184.216.34'\n"


def python_files(*folders: str) -> Iterator[tuple[Path, str]]:
    for folder in folders:
        for path in sorted(Path(folder).rglob("*.py")):
            try:
                text = path.read_text(encoding="utf-8")
                ast.parse(text)
            except (SyntaxError, ValueError, RecursionError, OSError):
                continue
            yield path, text


def changed_and_parsed(*folders: str) -> int:
    changed = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path, text in python_files(*folders):
            redacted, findings = redact_text(text, Redaction())
            assert (redacted == text) == (not findings)
            if findings:
                changed += 1
                try:
                    ast.parse(redacted)
                except SyntaxError as error:
                    pytest.fail(f"{path}:{error.lineno}: no longer parses")
    return changed


def test_redacted_standard_library_parses() -> None:
    stdlib = sysconfig.get_path("stdlib")
    assert changed_and_parsed(f"{stdlib}/email", f"{stdlib}/idlelib", f"{stdlib}/test") > 15


@pytest.mark.slow
def test_redacted_python_of_this_machine_parses() -> None:
    """Every file of the standard library and the installed packages that parses before."""
    assert changed_and_parsed(sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")) > 300


def test_redacted_json_parses() -> None:
    """Every JSON file of the installed packages, with keys and values planted in one of them."""
    checked = 0
    for path in sorted(Path(sys.prefix).rglob("*.json"))[:400]:
        try:
            text = path.read_text(encoding="utf-8")
            json.loads(text)
        except (ValueError, RecursionError):
            continue
        json.loads(redact_text(text, Redaction())[0])
        checked += 1
    pem = "-----BEGIN PRIVATE KEY-----\n" + "q7Zp2Xv9KtR4mWs8" * 4 + "\n-----END PRIVATE KEY-----\n"
    planted = {"ann@acme.org": pem, "93.184.216.34": "a\tann@acme.org\n", "93.184.216.35": {"api_key": "q7Zp2Xv9KtR4mWs8Yb3N"}}
    for indent in (None, 2):
        redacted, findings = redact_text(json.dumps(planted, indent=indent), Redaction())
        assert sorted(json.loads(redacted)) == ["192.0.2.1", "192.0.2.2", "user1@example.com"]
        assert len(findings) == 6
    assert checked > 20
