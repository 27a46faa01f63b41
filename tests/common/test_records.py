"""Manifests and metrics: a damaged one is named, a line cut by a kill is left out."""

from pathlib import Path

import pytest

from megatron_snow.common.checksums import value_digest
from megatron_snow.common.errors import UserError
from megatron_snow.common.records import Manifest, read_json, read_json_lines, read_manifest


def test_manifest_round_trip(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None
    manifest = Manifest("filter", "k", {"a": 1}, {"x.parquet": "d"}, {"documents": 3}, 1.5)
    manifest.write(tmp_path)
    assert read_manifest(tmp_path) == manifest


def test_damaged_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text('{"stage": ')
    with pytest.raises(UserError, match=r"manifest\.json: not valid JSON"):
        read_json(path)
    path.write_text('{"stage": "x"}')
    with pytest.raises(UserError, match="not a manifest"):
        read_manifest(tmp_path)


def test_a_cut_last_line_is_left_out_and_a_bad_one_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert [record["step"] for record in read_json_lines(path)] == [1, 2]
    path.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl:2"):
        list(read_json_lines(path))


def test_value_digest_ignores_the_order_of_keys() -> None:
    assert value_digest({"a": 1, "b": [2]}) == value_digest({"b": [2], "a": 1})
    assert value_digest({"a": 1}) != value_digest({"a": 2})
