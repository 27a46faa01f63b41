"""INPUT.jsonl CLUSTERS.json: datatrove's three MinHash stages (signatures, buckets, clusters) of 25 x 10, one task each."""

import json
import struct
import sys
import tempfile
from pathlib import Path

from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import JsonlReader

source, clusters = Path(sys.argv[1]), sys.argv[2]
config = MinhashConfig(n_grams=5, num_buckets=25, hashes_per_bucket=10)
with tempfile.TemporaryDirectory() as folder:
    reader = JsonlReader(str(source.parent), glob_pattern=source.name, text_key="content")
    stages = [
        (1, [reader, MinhashDedupSignature(f"{folder}/signatures", config=config)]),
        (25, [MinhashDedupBuckets(f"{folder}/signatures", f"{folder}/buckets", config=config)]),
        (1, [MinhashDedupCluster(f"{folder}/buckets", f"{folder}/clusters", config=config, save_cluster_id=True)]),
    ]
    for number, (tasks, pipeline) in enumerate(stages):
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=1, logging_dir=f"{folder}/logs{number}").run()
    with open(source, encoding="utf-8") as file:
        labels = [f"alone{number}" for number, _ in enumerate(file)]
    found = Path(folder, "clusters", "000000.clusters")
    for document, cluster in struct.iter_unpack("<2I", found.read_bytes() if found.is_file() else b""):
        labels[document] = f"cluster{cluster}"
with open(clusters, "w", encoding="utf-8") as file:
    json.dump(labels, file)
