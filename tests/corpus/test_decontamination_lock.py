"""Which benchmarks a corpus was cleaned of: their files, their names, the lock that holds another run to them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from megatron_snow.cli.main import main
from megatron_snow.common.errors import UserError
from megatron_snow.common.records import read_json
from megatron_snow.config import Corpus, Decontamination
from megatron_snow.corpus.decontamination.lock import LOCK, sha256
from megatron_snow.corpus.decontamination.needles import name_of
from megatron_snow.corpus.decontamination.report import REPORT
from megatron_snow.corpus.stages import decontaminate
from megatron_snow.tasks import benchmark_path

BANK = {"task_id": "t/0", "prompt": "", "entry_point": "f", "canonical_solution": "", "test": ""}


def write_bank(path: Path, solution: str) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(BANK | {"canonical_solution": solution}) + "\n")
    return str(path)


def test_benchmark_file_is_part_of_the_key(tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    shard = write_shard(tmp_path / "in" / "s.parquet", {"content": "alpha beta gamma delta epsilon zeta\n"})
    for solution, kept in (("nothing of the kind at all here", 1), ("alpha beta gamma delta epsilon zeta", 0)):
        corpus = Corpus(decontamination=Decontamination((write_bank(tmp_path / "bank.jsonl", solution),)))
        assert decontaminate(corpus, [shard], tmp_path / "out").counts.get("kept", 0) == kept


def test_lock_lists_digests_and_trivial_needles(tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    shard = write_shard(tmp_path / "in" / "s.parquet", {"content": "x = 1\n"})
    decontaminate(Corpus(), [shard], tmp_path / "out")
    (entry,) = read_json(tmp_path / "out" / LOCK)["benchmarks"]
    assert (entry["name"], entry["file"], entry["problems"]) == ("humaneval", "HumanEval.jsonl.gz", 164)
    assert entry["sha256"] == sha256(benchmark_path("humaneval"))
    assert {"task": "HumanEval/53", "kind": "solution", "text": "return x + y", "reason": "known"} in entry["trivial"]
    assert {"task": "HumanEval/2", "kind": "solution", "text": "return number % 1.0", "reason": "short"} in entry["trivial"]


def test_lock_holds_another_run_to_the_same_files(tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    shard = write_shard(tmp_path / "in" / "s.parquet", {"content": "x = 1\n"})
    bank = write_bank(tmp_path / "bank.jsonl", "alpha beta gamma delta epsilon zeta")

    def run(*benchmarks: str, lock: str) -> None:
        decontaminate(Corpus(decontamination=Decontamination(benchmarks, lock=lock)), [shard], tmp_path / "out")

    run(bank, lock="")
    lock = str(tmp_path / "bank.lock.json")
    (tmp_path / "out" / LOCK).rename(lock)
    run(bank, lock=lock)
    with pytest.raises(UserError, match=r"bank.lock.json lacks humaneval; make both name the same benchmarks"):
        run(bank, "humaneval", lock=lock)
    with pytest.raises(UserError, match=r"bank.lock.json has bank, which corpus.decontamination.benchmarks lacks"):
        run(lock=lock)
    write_bank(tmp_path / "bank.jsonl", "another solution")
    with pytest.raises(UserError, match=r"bank.jsonl: not the bank of .*bank.lock.json: its sha256 is [0-9a-f]{64}, there [0-9a-f]{64}"):
        run(bank, lock=lock)
    with pytest.raises(UserError, match=r"corpus.decontamination.lock: nowhere.json is not there"):
        run(bank, lock="nowhere.json")
    Path(lock).write_text("[]")
    with pytest.raises(UserError, match=r"bank.lock.json: not a benchmarks.lock.json"):
        run(bank, lock=lock)


def test_explain_needs_no_report(tmp_path: Path, write_shard: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    """A run was killed between its last shard and its report: explaining writes none."""
    shard = write_shard(tmp_path / "in" / "s.parquet", {"content": "x = 1\n"})
    command = ["decontaminate-corpus", "--input", str(shard), "--output", str(tmp_path / "out")]
    assert main(command) == 0
    (tmp_path / "out" / REPORT).unlink()
    assert main([*command, "--explain"]) == 0
    assert "1 documents" in capsys.readouterr().out
    assert not (tmp_path / "out" / REPORT).exists()
    assert main(command) == 0
    assert (tmp_path / "out" / REPORT).exists()


def test_two_files_of_one_name_are_refused(tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    shard = write_shard(tmp_path / "in" / "s.parquet", {"content": "x = 1\n"})

    bank, other, array = (write_bank(tmp_path / name, "a") for name in ("bank.jsonl", "other/bank.jsonl", "bank.json"))
    for names, label in (((bank, other), "bank"), ((bank, array), "bank"), (("humaneval", "HumanEval"), "humaneval")):
        with pytest.raises(UserError, match=rf"corpus.decontamination.benchmarks: two are called {label};"):
            decontaminate(Corpus(decontamination=Decontamination(names)), [shard], tmp_path / "out")


@pytest.mark.parametrize(
    ("benchmark", "name"),
    [
        ("humaneval", "humaneval"), ("HumanEval", "humaneval"), ("data/bigcodebench-v0.1.0-hf.jsonl.gz", "bigcodebench-v0.1.0-hf"),
        ("a.parquet", "a"), ("a.json", "a"), ("a.gz", "a"), ("a.jsonl.bak", "a.jsonl.bak"), (".jsonl", ".jsonl"),
    ],
)  # fmt: skip
def test_benchmarks_are_called_by_their_file_without_endings(benchmark: str, name: str) -> None:
    assert name_of(benchmark) == name
