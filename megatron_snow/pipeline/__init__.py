"""Stages over shards: a data stage is a pure function from input files to output files (DESIGN 6).

`run_stage` runs the tasks whose key has changed on an executor, commits each by rename and a
record beside it, and the stage by its manifest. A run that was killed anywhere goes on from there.
"""

from megatron_snow.common.explain import WouldRun, explaining, is_explaining
from megatron_snow.pipeline.columns import DOCUMENT, Texts, texts_of
from megatron_snow.pipeline.executors import EXECUTORS, INLINE, Execution, process_pool
from megatron_snow.pipeline.folders import RECORD, WORK, folder_of_ours
from megatron_snow.pipeline.shards import (
    BATCH_BYTES,
    SHARD_BYTES,
    Piece,
    ShardWriter,
    batches_of,
    count_rows,
    picked_rows,
    pieces_of,
    read_documents,
    read_table,
    schema_of,
    shards_in,
    write_table,
)  # fmt: skip
from megatron_snow.pipeline.stage import run_stage, tasks_by_shard, unfinished
from megatron_snow.pipeline.tasks import Stage, Task

__all__ = [
    "BATCH_BYTES", "DOCUMENT", "EXECUTORS", "INLINE", "RECORD", "SHARD_BYTES", "WORK", "Execution", "Piece", "ShardWriter", "Stage",
    "Task", "Texts", "WouldRun", "batches_of", "count_rows", "explaining", "folder_of_ours", "is_explaining", "picked_rows", "pieces_of",
    "process_pool", "read_documents", "read_table", "run_stage", "schema_of", "shards_in", "tasks_by_shard", "texts_of", "unfinished",
    "write_table",
]  # fmt: skip
