"""What is wrong with files and folders, over every verb that reads shards: one message, exit code 2, nothing outside the output."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from megatron_snow.cli.main import run_verb
from megatron_snow.common.records import read_manifest
from megatron_snow.pipeline import json_lines, read_documents, shards_in

OPTIONS = {"decontaminate_corpus": ["--benchmarks", "humaneval"]}
VERBS = ("filter_corpus", "deduplicate_corpus", "redact_corpus", "decontaminate_corpus", "group_corpus")
ROW = {"content": "def area(width, height):\n    return width * height\n", "repository": "a/b", "path": "a.py", "language": "Python"}
LINE = json.dumps(ROW).encode() + b"\n"
Fails = Callable[..., str]


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture
def fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Fails:
    """fails(verb, *inputs, output=...): the one message. Asserts exit code 2 and that nothing but the output was touched."""

    def run(verb: str, *inputs: Path, output: Path | None = None) -> str:
        output = output or tmp_path / "out"
        before = tree(tmp_path)
        arguments = ["--input", *map(str, inputs), "--output", str(output), "--executor", "inline", *OPTIONS.get(verb, [])]
        assert run_verb(verb, arguments) == 2
        error = capsys.readouterr().err
        assert error.count("error: ") == 1
        assert "Traceback" not in error
        # deduplicate and group keep passes, group a second folder for held-out documents
        new = {name for name in tree(tmp_path) - before if not name.startswith(("out", "held_out"))}
        assert not new
        assert not list(output.glob("*.parquet")) if output.is_dir() else True
        assert not [name for name in tree(tmp_path) if "partial" in name]
        return error.partition("error: ")[2].strip()

    return run


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """(file, what its message says) by what is wrong with it."""
    files = {
        "truncated gzip": ("a.jsonl.gz", gzip.compress(LINE * 500)[:-20], "a.jsonl.gz: damaged"),
        "empty gzip": ("b.jsonl.gz", b"", "b.jsonl.gz: damaged"),
        "invalid UTF-8": ("c.jsonl", LINE + LINE.replace(b"width", b"w\xffdth"), f"the line at byte {len(LINE)} is not UTF-8"),
        "half a surrogate": ("d.jsonl", LINE + LINE.replace(b"width", b"\\udc00"), "half of a surrogate pair"),
        "cut line": ("e.jsonl", LINE + LINE[:20], f"the line at byte {len(LINE)} is not valid JSON"),
        "deep line": ("f.jsonl", LINE + b'{"content":"x","x":' + b"[" * 60_000 + b"]" * 60_000 + b"}\n", "too deep in each other"),
        "no text in JSONL": ("g.jsonl", b'{"path":"a.py"}\n', "no column 'content'"),
        "not Parquet": ("h.parquet", b"PAR1 not really", "h.parquet: damaged shard"),
        "empty Parquet file": ("i.parquet", b"", "i.parquet: damaged shard"),
    }
    made = {}
    for what, (name, data, message) in files.items():
        (folder / name).write_bytes(data)
        made[what] = (folder / name, message)
    table = pa.Table.from_pylist([ROW] * 2000)
    pq.write_table(table.drop_columns("content"), folder / "j.parquet")
    made["no text in Parquet"] = (folder / "j.parquet", "no column ")
    pq.write_table(table, folder / "k.parquet", compression="zstd", use_dictionary=False)
    data = bytearray((folder / "k.parquet").read_bytes())
    data[40:80] = bytes(40)
    (folder / "k.parquet").write_bytes(data)
    made["damaged page"] = (folder / "k.parquet", "k.parquet: damaged shard")
    pq.write_table(table.set_column(0, "content", pa.array([b"\xff\xfe"] * 2000)), folder / "l.parquet")
    made["bytes for text"] = (folder / "l.parquet", "column 'content' is binary, not string")
    return made


@pytest.mark.parametrize("what", [
    "truncated gzip", "empty gzip", "invalid UTF-8", "half a surrogate", "cut line", "deep line", "no text in JSONL", "not Parquet",
    "empty Parquet file", "no text in Parquet", "damaged page", "bytes for text",
])  # fmt: skip
@pytest.mark.parametrize("verb", VERBS)
def test_a_bad_file_is_named(verb: str, what: str, tmp_path: Path, fails: Fails) -> None:
    (tmp_path / "in").mkdir()
    path, message = bad_files(tmp_path / "in")[what]
    told = fails(verb, path)
    assert message in told
    assert path.name in told


@pytest.mark.parametrize("verb", VERBS)
def test_a_line_over_the_bound_is_named(verb: str, tmp_path: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "_LONGEST_LINE", 1000)
    monkeypatch.setattr("megatron_snow.pipeline.shards.BATCH_BYTES", 300)
    monkeypatch.setattr(json_lines, "_SAMPLE_BYTES", 300)
    path = tmp_path / "long.jsonl"
    path.write_bytes(LINE + json.dumps(ROW | {"content": "x" * 2000}).encode() + b"\n")
    assert "long.jsonl: a line is over" in fails(verb, path)


@pytest.mark.parametrize("verb", VERBS)
def test_shards_of_one_name_are_refused(verb: str, tmp_path: Path, fails: Fails) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.jsonl").write_bytes(LINE)
    told = fails(verb, tmp_path / "one" / "same.jsonl", tmp_path / "two" / "same.jsonl")
    assert "two inputs are called same" in told
    assert "rename one" in told


@pytest.mark.parametrize("verb", VERBS)
def test_an_output_that_is_a_file_is_left_alone(verb: str, tmp_path: Path, fails: Fails) -> None:
    (tmp_path / "in.jsonl").write_bytes(LINE)
    (tmp_path / "out").write_text("precious")
    assert str(tmp_path / "out") in fails(verb, tmp_path / "in.jsonl")
    assert (tmp_path / "out").read_text() == "precious"


@pytest.mark.parametrize("verb", VERBS)
def test_an_output_that_holds_the_input_is_left_alone(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    pq.write_table(pa.Table.from_pylist([ROW]), tmp_path / "out" / "in.parquet")
    arguments = ["--input", str(tmp_path / "out" / "in.parquet"), "--output", str(tmp_path / "out"), *OPTIONS.get(verb, [])]
    assert run_verb(verb, arguments) == 2
    assert "in.parquet" in capsys.readouterr().err
    assert (tmp_path / "out" / "in.parquet").is_file()


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    folder.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=False).returncode:
        pytest.skip("mounting a file system needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("verb", VERBS)
def test_a_read_only_output(verb: str, tmp_path: Path, fails: Fails) -> None:
    (tmp_path / "in.jsonl").write_bytes(LINE)
    with mounted(tmp_path / "disk", "ro"):
        told = fails(verb, tmp_path / "in.jsonl", output=tmp_path / "disk" / "out")
    assert "the file system is read-only; choose another --output" in told


@pytest.mark.parametrize("verb", VERBS)
def test_a_full_disk(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On 64 kB there is no room for the documents; with more the same command ends well."""
    documents = [ROW | {"path": f"{n}.py", "content": f"# {os.urandom(4000).hex()}\n" + ROW["content"] * 3} for n in range(200)]
    pq.write_table(pa.Table.from_pylist(documents), tmp_path / "in.parquet")
    arguments = ["--input", str(tmp_path / "in.parquet"), "--executor", "inline", *OPTIONS.get(verb, [])]
    if verb == "filter_corpus":
        arguments += ["--threshold", "long_line=100000", "--threshold", "long_lines=100000"]
    with mounted(tmp_path / "disk", "size=128k"):
        assert run_verb(verb, [*arguments, "--output", str(tmp_path / "disk" / "out")]) == 2
        error = capsys.readouterr().err
        assert "no space left on the device; free some or choose another --output" in error
        assert str(tmp_path / "disk") in error
        assert "Traceback" not in error
        assert not [name for name in tree(tmp_path / "disk") if "partial" in name]
        subprocess.run(["mount", "-o", "remount,size=100m", str(tmp_path / "disk")], check=True)
        assert run_verb(verb, [*arguments, "--output", str(tmp_path / "disk" / "out")]) == 0


@pytest.mark.parametrize("kind", ["everything is dropped", "no row", "an empty JSONL file"])
def test_an_empty_corpus_goes_through_every_stage(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "in.jsonl"
    if kind == "no row":
        source = tmp_path / "in.parquet"
        pq.write_table(pa.Table.from_pylist([ROW]).slice(0, 0), source)
    else:
        row = json.dumps(ROW | {"content": "x" * 5000}) + "\n"  # one line of 5,000 characters
        source.write_text(row * 3 if kind == "everything is dropped" else "")
    folders = [source, *(tmp_path / str(number) for number in range(len(VERBS)))]
    for verb, before, after in zip(VERBS, folders, folders[1:]):
        arguments = ["--input", str(before), "--output", str(after), "--executor", "inline", *OPTIONS.get(verb, [])]
        assert run_verb(verb, arguments) == 0, capsys.readouterr().err
        manifest = read_manifest(after)
        assert manifest is not None
        assert manifest.counts.get("kept", 0) == 0
    assert not [row for path in tmp_path.glob("*/*.parquet") for row in read_documents(path)]
    assert shards_in(tmp_path / "0")
