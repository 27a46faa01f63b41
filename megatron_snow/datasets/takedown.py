"""A dataset without some documents: what `preprocess` would have made of the shards without them, and a proof that they are gone.

Kept files are copied in ranges by the kernel (`splicing`); the ends of groups and the cuts of long ones are mended, and a
repository's name before its first file moves to the next one where that is taken down.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from megatron_snow.common.files import beside
from megatron_snow.common.records import Manifest, write_json
from megatron_snow.datasets.indexed import IndexedDataset
from megatron_snow.datasets.lineage import STARTS, SUFFIX, Lineage, LineageWriter
from megatron_snow.datasets.preprocess import DATASET_SUFFIXES
from megatron_snow.datasets.seals import seal, sealed_digest
from megatron_snow.datasets.selection import Matches, Selection, find_files, read_selection
from megatron_snow.datasets.sequences import NOTHING, Separation
from megatron_snow.datasets.splicing import ALONE, Splicer, Stretch
from megatron_snow.datasets.takedown_proof import prove
from megatron_snow.datasets.tracing import open_lineages
from megatron_snow.pipeline import INLINE, WORK, Execution, Stage, Task, folder_of_ours, run_stage
from megatron_snow.pipeline.folders import check_folder

REMOVED, REPORT = ".removed.parquet", ".takedown.json"
_INPUTS = (".bin", ".idx", SUFFIX, STARTS)


def take_down(dataset: Path, selection: Selection, output: Path, execution: Execution = INLINE) -> Manifest:
    """Write the datasets of a folder (or the one of a prefix) into `output` without the files that are meant.

    Beside each: .removed.parquet (their lineage in the old dataset) and .takedown.json (what was asked, figures, digests
    before and after, the proof). UserError for a name that no file has; nothing is written then.
    """
    lineages = open_lineages(dataset)
    matches = Matches(selection)
    for lineage in lineages:
        for found in find_files(lineage, selection):
            matches.add(found.rows)
    matches.check(lineages, dataset)
    request = output / WORK / "request.json"
    stage = Stage("take down", 1, _rewrite, suffixes=(*DATASET_SUFFIXES[:-1], REMOVED, REPORT, ".idx"), digest=sealed_digest)
    tasks = [Task(lineage.prefix.name, (request, *(beside(lineage.prefix, suffix) for suffix in _INPUTS))) for lineage in lineages]
    check_folder(stage.name, [path for task in tasks for path in task.inputs[1:]], stage.suffixes, output)
    with folder_of_ours(output):
        write_json(request, selection.as_dict())
        manifest = run_stage(stage, tasks, output, execution)
        shutil.rmtree(output / WORK)
    return manifest


def _rewrite(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: the request, then the files of a dataset -> the dataset without the files that are meant."""
    selection, old = read_selection(inputs[0]), inputs[1].with_name(inputs[1].name.removesuffix(".bin"))
    lineage, data = Lineage(old), IndexedDataset(old)
    data.verify()  # what is damaged would be sealed as whole
    separation = Separation.read(lineage.description["separation"])
    removed_files = sum(len(found.numbers) for found in find_files(lineage, selection))
    about, kept = {"tokenizer": lineage.description.get("tokenizer")}, len(lineage) - removed_files
    removed_tokens = 0
    with (
        open(inputs[1], "rb", buffering=0) as source,
        LineageWriter(beside(prefix, REMOVED)) as removed,
        Splicer(prefix, separation, data.dtype, kept, about) as splicer,
    ):
        for stretch, gone in _stretches(lineage, data, selection):
            splicer.add(source, stretch)
            removed.write(gone)
            removed_tokens += int(gone["tokens"].to_numpy().sum())
    seal(prefix)
    proof = prove(old, prefix, selection)
    digests = {when: _digests(path) for when, path in (("before", old), ("after", prefix))}
    counts = {"removed_files": removed_files, "removed_tokens": removed_tokens, "kept_files": kept, "tokens": splicer.num_tokens}
    write_json(beside(prefix, REPORT), {"asked": selection.as_dict(), **counts, "proof": proof, "digests": digests})
    return {**counts, "groups": splicer.groups, "sequences": splicer.sequences}


def _digests(prefix: Path) -> dict[str, str]:
    return {suffix: sealed_digest(beside(prefix, suffix)) for suffix in _INPUTS}


def _stretches(lineage: Lineage, data: IndexedDataset, selection: Selection) -> Iterator[tuple[Stretch, pa.Table]]:
    """(what stays, what goes) of each row group of a lineage."""
    group, name = -1, (-1, 0, 0)  # of the last file that stays; (group, first token, tokens) of a name without a file
    for _, rows in lineage.tables():
        gone = selection.mask(rows)
        name_starts, name_lengths, name = _moved_names(rows, gone, name)
        stays = np.flatnonzero(~gone)
        groups = rows["group"].to_numpy()[stays]
        begins = groups != np.concatenate([[group], groups[:-1]])
        group = int(groups[-1]) if len(groups) else group
        joints = np.where(np.concatenate([[True], gone[:-1]]), ALONE, _joints(rows, data))[stays]
        starts, lengths = (rows[column].to_numpy()[stays] for column in ("token_start", "tokens"))
        kept = rows.take(pa.array(stays))
        names = kept["name_tokens"].to_numpy() + name_lengths[stays]
        kept = kept.set_column(kept.column_names.index("name_tokens"), "name_tokens", pa.array(names, pa.int32()))
        yield Stretch(kept, starts, lengths, joints, begins, name_starts[stays], name_lengths[stays]), rows.filter(pa.array(gone))


def _joints(rows: pa.Table, data: IndexedDataset) -> NDArray[np.int64]:
    """The token before each file of a row group, NOTHING where there is none; of the first it is not asked."""
    starts, lengths = rows["token_start"].to_numpy(), rows["tokens"].to_numpy()
    joints = np.full(len(starts), NOTHING, np.int64)
    after = 1 + np.flatnonzero(starts[1:] > starts[:-1] + lengths[:-1])
    joints[after] = data.tokens[starts[after] - 1]
    return joints


def _moved_names(
    rows: pa.Table, gone: NDArray[np.bool_], carried: tuple[int, int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[int, int, int]]:
    """(first token, tokens) of the repository's name that each file of a row group gets, and the name that waits for a next one.

    The first file of a group has the name; where it goes, the first one that stays takes it.
    """
    groups, starts, names = (rows[column].to_numpy() for column in ("group", "token_start", "name_tokens"))
    name_starts, name_lengths = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
    waiting = [carried, *((int(groups[row]), int(starts[row]), int(names[row])) for row in np.flatnonzero(gone & (names > 0)))]
    for group, start, tokens in waiting:
        first, last = np.searchsorted(groups, (group, group + 1))
        stays = np.flatnonzero(~gone[first:last])
        if tokens and len(stays):
            name_starts[first + stays[0]], name_lengths[first + stays[0]] = start, tokens
    group, _, _ = waiting[-1]
    open_still = len(groups) and group == groups[-1] and gone[np.searchsorted(groups, group) :].all()
    return name_starts, name_lengths, waiting[-1] if open_still else (-1, 0, 0)
