"""JSONL: rows are the same wherever a file is cut and however it is packed, and text is never changed; what is bad is named by its byte."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.pipeline import batches_of, count_rows, json_lines, picked_rows, read_documents, schema_of

ROWS: list[dict[str, Any]] = [
    {"content": "x = 1\n", "stars": 1},
    {"content": "é 😀 \t \"quoted\" \\ {[", "stars": None},
    {"content": "", "stars": 3},
    {"content": "last\r\n", "stars": 9_007_199_254_740_993},  # 2^53 + 1, which no double holds
]  # fmt: skip
TEXT = "".join(json.dumps(row) + "\n" for row in ROWS)


def texts(path: Path, piece: dict[str, list[int]] | None = None) -> list[tuple[str, int | None]]:
    return [(row["content"], row["stars"]) for row in read_documents(path, ["content", "stars"], piece)]


EXPECTED = [(row["content"], row["stars"]) for row in ROWS]


@pytest.mark.parametrize("end", ["\n", ""])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\n\n", "\n \t\n"])
def test_rows_are_the_same_wherever_a_file_is_cut(tmp_path: Path, newline: str, end: str) -> None:
    """Two pieces at every byte, and pieces of every size: each row is in exactly one, in order."""
    path = tmp_path / "a.jsonl"
    path.write_bytes((TEXT.rstrip("\n").replace("\n", newline) + end).encode())
    size = path.stat().st_size
    for cut in range(size + 1):
        assert texts(path, {"bytes": [0, cut]}) + texts(path, {"bytes": [cut, size]}) == EXPECTED, cut
    for step in range(1, size + 1, 7):
        pieces = [{"bytes": piece} for piece in json_lines.pieces_of(path, step)]
        assert [row for piece in pieces for row in texts(path, piece)] == EXPECTED, step
        assert sum(count_rows(path, piece) for piece in pieces) == len(ROWS)


@pytest.mark.parametrize("size", [1, 2, 5, 20, 60, 1000])
def test_rows_are_the_same_whatever_the_size_of_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr("megatron_snow.pipeline.shards.BATCH_BYTES", size)
    for name, packed in (("a.jsonl", TEXT.encode()), ("a.jsonl.gz", gzip.compress(TEXT.encode()))):
        (tmp_path / name).write_bytes(packed)
        assert texts(tmp_path / name) == EXPECTED


def packings() -> Iterable[tuple[str, bytes]]:
    data = TEXT.encode()
    yield "a.jsonl", data
    yield "a.json", data
    yield "a.jsonl.gz", gzip.compress(data)
    yield "members.jsonl.gz", gzip.compress(data[:30]) + gzip.compress(data[30:])  # what appending to a .gz makes
    yield "a.jsonl.zst", pa.compress(data, codec="zstd", asbytes=True)
    yield "frames.jsonl.zst", pa.compress(data[:30], codec="zstd", asbytes=True) + pa.compress(data[30:], codec="zstd", asbytes=True)


@pytest.mark.parametrize(("name", "packed"), list(packings()), ids=[name for name, _ in packings()])
def test_every_packing_gives_the_same_rows(tmp_path: Path, name: str, packed: bytes) -> None:
    (tmp_path / name).write_bytes(packed)
    assert texts(tmp_path / name) == EXPECTED
    assert count_rows(tmp_path / name) == len(ROWS)
    assert json_lines.pieces_of(tmp_path / name, 10) == [] or not name.endswith(("gz", "zst"))


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst"])
def test_a_packed_file_cut_at_any_byte_is_named(tmp_path: Path, name: str) -> None:
    noise = random.Random(1).randbytes(2000).hex()
    data = (TEXT + json.dumps({"content": noise, "stars": 1}) + "\n").encode()
    packed = gzip.compress(data) if name.endswith("gz") else pa.compress(data, codec="zstd", asbytes=True)
    for length in (0, 1, 5, 20, len(packed) // 2, len(packed) - 9, len(packed) - 8, len(packed) - 1):
        (tmp_path / name).write_bytes(packed[:length])
        with pytest.raises(UserError, match=rf"{name}: damaged \(.*\); restore it or take it out"):
            texts(tmp_path / name)


LIKE_OTHERS = ["2020-01-01T00:00:00Z", "2020-01-01", "2020-01-01 12:30:00.123", "12:30", "1e5", "true", "null", "NaN", "0x10"]


@pytest.mark.parametrize("text", LIKE_OTHERS)
def test_text_that_looks_like_another_type_stays_as_it_is(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"content": text, "date": text, "more": {"when": [text]}}) + "\n")
    (row,) = read_documents(tmp_path / "a.jsonl")
    assert (row["content"], row["date"], row["more"]) == (text, text, {"when": [text]})


@pytest.mark.parametrize("written", ["\\u00e9", "\\ud83d\\ude00", "\\u0000", "\\/", "\\b\\f\\n\\r\\t", "\\u2028"])
def test_escapes_are_what_pythons_parser_says(tmp_path: Path, written: str) -> None:
    line = f'{{"content":"<{written}>"}}'
    (tmp_path / "a.jsonl").write_text(line + "\n")
    assert [row["content"] for row in read_documents(tmp_path / "a.jsonl")] == [json.loads(line)["content"]]


def test_a_column_that_begins_with_nulls_is_text(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"content":"a","license":null}\n' * 3 + '{"content":"b","license":"MIT"}\n')
    assert [row["licence"] for row in read_documents(tmp_path / "a.jsonl")] == [None, None, None, "MIT"]


def test_a_null_text_is_null_and_of_no_size(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"content":null}\n{"content":"a"}\n')
    assert [(row["content"], row["size"]) for row in read_documents(tmp_path / "a.jsonl")] == [(None, None), ("a", 1)]


def test_keys_of_others_and_nested_ones_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text":"a","meta":{"x":1,"y":[1,2]}}\n{"text":"b","meta":{"x":2,"z":"q"}}\n')
    rows = list(read_documents(tmp_path / "a.jsonl"))
    assert [row["meta"] for row in rows] == [{"x": 1, "y": [1, 2], "z": None}, {"x": 2, "y": None, "z": "q"}]
    assert [row["content"] for row in rows] == ["a", "b"]
    assert schema_of(tmp_path / "a.jsonl").field("meta").type.num_fields == 3


def test_a_key_that_the_first_lines_do_not_have_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "_SAMPLE_BYTES", 10)
    (tmp_path / "a.jsonl").write_text('{"content":"a"}\n{"content":"b","late":1}\n')
    assert [row.get("late") for row in read_documents(tmp_path / "a.jsonl")] == [None, None]


@pytest.mark.parametrize("data", [b"", b"\n", b"\n \n\t\n"])
def test_a_file_without_rows(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.jsonl").write_bytes(data)
    assert list(read_documents(tmp_path / "a.jsonl")) == []
    assert "content" in schema_of(tmp_path / "a.jsonl").names


GOOD = b'{"content":"a"}\n'
BAD = {
    "not UTF-8": (b'{"content":"x\xffy"}\n', "the line at byte 16 is not UTF-8"),
    "cut": (b'{"content":"x\n', "the line at byte 16 is not valid JSON"),
    "half a pair": (b'{"content":"x\\ud800y"}\n', "the line at byte 16 has half of a surrogate pair"),
    "list": (b'["a"]\n', r"the line at byte 16 is not an object but '\[\"a\"\]'"),
    "text": (b'"a"\n', "the line at byte 16 is not an object"),
    "two on a line": (b'{"content":"a"}{"content":"b"}\n', "the line at byte 16 is not valid JSON"),
    "over two lines": (b'{"content":\n"a"}\n', "the line at byte 16 is not valid JSON"),
    "a key twice": (b'{"content":"a","content":"b"}\n', "specified twice .*each key at most once"),
    "another type": (b'{"content":["a"]}\n', "changed from string to array .*one type"),
    "too deep": (b'{"content":"a","x":' + b"[" * 50_000 + b"]" * 50_000 + b"}\n", "the line at byte 16 has objects or lists too deep"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_line_is_named_by_its_byte(tmp_path: Path, case: str) -> None:
    data, message = BAD[case]
    (tmp_path / "a.jsonl").write_bytes(GOOD + data + GOOD)
    with pytest.raises(UserError, match=rf"a\.jsonl: .*{message}"):
        list(read_documents(tmp_path / "a.jsonl"))


def test_the_byte_is_that_of_the_file_in_a_late_piece_too(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(GOOD * 100 + BAD["not UTF-8"][0])
    with pytest.raises(UserError, match="the line at byte 1600 is not UTF-8"):
        list(read_documents(tmp_path / "a.jsonl", piece={"bytes": [1000, 1700]}))


def test_brackets_within_text_are_not_depth(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"content": "[{" * 5000}) + "\n")
    assert [row["content"] for row in read_documents(tmp_path / "a.jsonl")] == ["[{" * 5000]


def test_a_whole_number_beyond_64_bits_is_refused(tmp_path: Path) -> None:
    for number, right in ((2**63 - 1, True), (2**63, False)):
        (tmp_path / "a.jsonl").write_text(json.dumps({"content": "a", "stars": number}) + "\n")
        if right:
            assert [row["stars"] for row in read_documents(tmp_path / "a.jsonl")] == [number]
        else:
            with pytest.raises(UserError, match="column 'stars' is double, not int64"):
                list(read_documents(tmp_path / "a.jsonl"))


def test_a_line_of_just_the_bound_is_read_and_a_longer_one_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "_LONGEST_LINE", 1000)
    monkeypatch.setattr("megatron_snow.pipeline.shards.BATCH_BYTES", 100)
    monkeypatch.setattr(json_lines, "_SAMPLE_BYTES", 100)
    row = '{"content":"%s"}\n'
    (tmp_path / "a.jsonl").write_text(row % ("x" * (1100 - len(row % ""))))  # 100 bytes of a block, then the bound
    assert count_rows(tmp_path / "a.jsonl") == 1
    (tmp_path / "a.jsonl").write_text(row % ("x" * (1101 - len(row % ""))))
    with pytest.raises(UserError, match=r"a\.jsonl: a line is over"):
        count_rows(tmp_path / "a.jsonl")


def test_a_file_without_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"body":"a","path":"p"}\n')
    with pytest.raises(UserError, match=r"a\.jsonl: no column 'content'; it has body, path"):
        list(read_documents(tmp_path / "a.jsonl"))


@pytest.mark.parametrize("chosen", [[], [0], [3], [1, 2], [0, 1, 2, 3]])
def test_picked_rows_are_those_rows(tmp_path: Path, chosen: list[int]) -> None:
    (tmp_path / "a.jsonl").write_text("\n" + TEXT.replace("\n", "\n \n"))
    tables = picked_rows(tmp_path / "a.jsonl", np.array(chosen, np.int64), ["content"])
    got = [pair for here, table in tables for pair in zip(here, table["content"].to_pylist())]
    assert got == [(number, ROWS[number]["content"]) for number in chosen]


def test_arrow_tables_hold_valid_utf8(tmp_path: Path) -> None:
    """Compiled loops read the bytes as they are."""
    (tmp_path / "a.jsonl").write_text(TEXT)
    for batch in batches_of(tmp_path / "a.jsonl"):
        batch.validate(full=True)
