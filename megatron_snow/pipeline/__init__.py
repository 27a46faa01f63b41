"""Stages over shards: a data stage is a pure function from input files to output files (DESIGN 6).

`run_stage` runs the tasks whose key has changed on an executor, commits each by rename and a
record beside it, and the stage by its manifest. A run that was killed anywhere goes on from there.
"""

from megatron_snow.pipeline.executors import process_pool
from megatron_snow.pipeline.shards import DOCUMENT, ShardWriter, count_rows, read_documents, read_table, schema_of, shards_in, write_table
from megatron_snow.pipeline.stage import RECORD, Stage, Task, run_stage, tasks_by_shard

__all__ = [
    "DOCUMENT", "RECORD", "ShardWriter", "Stage", "Task", "count_rows", "process_pool", "read_documents", "read_table", "run_stage",
    "schema_of", "shards_in", "tasks_by_shard", "write_table",
]  # fmt: skip
