"""A shard's tokens with a border between files, and parts joined into a dataset.

A part's .bin holds the files of a shard with, between two of them, the separator or where the group changes the end of a
sequence; nothing stands before its first file and after its last. Its lineage has the group by name: whether a part goes on with
the group of the one before is seen when they are joined.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from megatron_snow.common.errors import UserError
from megatron_snow.common.files import beside
from megatron_snow.datasets.file_tokens import HEADER, file_tokens
from megatron_snow.datasets.lineage import LINEAGE, SUFFIX, TEXTS, LineageWriter, texts_of_lineage
from megatron_snow.datasets.sequences import NOTHING, Separation
from megatron_snow.datasets.shared_tokenizer import SharedTokenizer
from megatron_snow.datasets.splicing import ALONE, Splicer, Stretch
from megatron_snow.pipeline import batches_of, count_rows, schema_of
from megatron_snow.tokenizers import Tokenizer
from megatron_snow.tokenizers.engines import EngineError

PART_SUFFIXES = (".bin", SUFFIX)
_PART = pa.schema([pa.field("group", pa.string()) if field.name == "group" else field for field in LINEAGE])
_COLUMNS = (*TEXTS, "size", "content", "group")


def tokenize_part(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any], *, shared: SharedTokenizer) -> Mapping[str, int]:
    """Task: a shard -> its tokens and their lineage. Parameters: separation, dtype, piece."""
    separation = Separation.read(parameters["separation"])
    dtype, counts = np.dtype(parameters["dtype"]).newbyteorder("<"), {"documents": 0, "bytes": 0, "tokens": 0}
    previous: str | None = None
    with open(beside(prefix, ".bin"), "wb") as tokens, LineageWriter(beside(prefix, SUFFIX), _PART) as lineage:
        for batch in _batches(inputs[0], parameters.get("piece")):
            groups = pc.fill_null(batch["group"].cast(pa.string()), "").combine_chunks()
            begins = group_begins(groups, previous)
            try:
                ids, rows = _encode(batch, shared.tokenizer, separation, begins, counts["tokens"], previous is None)
            except EngineError as error:
                raise error.within(_name(inputs[0], batch, error.index)) from error
            tokens.write(ids.astype(dtype, copy=False).data)
            lineage.write(rows.append_column("group", groups))
            previous = groups[-1].as_py()
            sums = {"documents": len(rows), "bytes": pc.sum(rows["size"]).as_py() or 0, "tokens": len(ids)}
            counts = {name: counts[name] + sums[name] for name in counts}
    return counts


def _name(shard: Path, batch: pa.Table, row: int) -> str:
    """A document of a batch, for a message."""
    repository, path = (batch[name][row].as_py() or "?" for name in ("repository", "path"))
    return f"{shard}: {repository} {path}"


def _batches(shard: Path, piece: Any) -> Iterator[pa.Table]:
    names = schema_of(shard).names
    if "group" not in names:
        raise UserError(f"{shard}: no column 'group' (it has {', '.join(names)}); tools/group_corpus.py writes it")
    header = (HEADER,) if HEADER in names else ()
    yield from (batch for batch in batches_of(shard, (*_COLUMNS, *header), piece) if len(batch))


def _encode(
    batch: pa.Table, tokenizer: Tokenizer, separation: Separation, begins: NDArray[np.bool_], before: int, first: bool
) -> tuple[NDArray[np.integer], pa.Table]:
    """Ids of a batch with the joint before each file, and its lineage without groups; `before`: tokens of the part so far."""
    ids, ends, name_tokens = file_tokens(batch, tokenizer)
    joints = separation.joints(begins)
    if first:
        joints[0] = NOTHING
    there = joints != NOTHING
    starts = np.concatenate([[0], ends[:-1]])
    ids = np.insert(ids, starts[there], joints[there])
    own = {"token_start": before + starts + np.cumsum(there), "tokens": ends - starts, "name_tokens": name_tokens}
    rows = pa.table([*texts_of_lineage(batch), batch["size"]], names=[*TEXTS, "size"])
    for name, values in own.items():
        rows = rows.append_column(name, pa.array(values))
    return ids, rows


def group_begins(groups: pa.Array, previous: str | None) -> NDArray[np.bool_]:
    """Whether each file begins a group; `previous`: the group of the one before, None: there is none."""
    begins = np.ones(len(groups), bool)
    begins[1:] = pc.not_equal(groups[1:], groups[:-1]).to_numpy(zero_copy_only=False)
    if len(groups):
        begins[0] = groups[0].as_py() != previous
    return begins


def join_parts(parts: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Parts, in their order, -> PREFIX's dataset. Parameters: separation, dtype, tokenizer (its digest)."""
    separation, dtype = Separation.read(parameters["separation"]), np.dtype(parameters["dtype"])
    files, size = sum(count_rows(beside(part, SUFFIX)) for part in parts), 0
    previous: str | None = None
    with Splicer(prefix, separation, dtype, files, {"tokenizer": parameters["tokenizer"]}) as splicer:
        for part in parts:
            with open(beside(part, ".bin"), "rb", buffering=0) as source, pq.ParquetFile(beside(part, SUFFIX)) as table:
                for number in range(table.num_row_groups):
                    rows = table.read_row_group(number).combine_chunks()
                    groups = rows["group"].chunk(0)
                    splicer.add(source, _stretch(rows, group_begins(groups, previous), separation))
                    previous = groups[-1].as_py()
                    size += pc.sum(rows["size"]).as_py() or 0
    counts = {"documents": files, "groups": splicer.groups, "sequences": splicer.sequences}
    return {**counts, "bytes": size, "tokens": splicer.num_tokens}


def _stretch(rows: pa.Table, begins: NDArray[np.bool_], separation: Separation) -> Stretch:
    joints = separation.joints(begins)
    joints[0] = ALONE  # a part has nothing before its first file; another row group's first costs one range more
    nothing = np.zeros(len(rows), np.int64)
    return Stretch(rows, rows["token_start"].to_numpy(), rows["tokens"].to_numpy(), joints, begins, nothing, nothing)
