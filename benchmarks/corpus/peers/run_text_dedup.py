"""INPUT.jsonl CLUSTERS.json: text-dedup's MinHash command, and which document each was joined to."""

import json
import sys
import tempfile

from text_dedup import minhash

source, clusters = sys.argv[1:3]
with open(source, encoding="utf-8") as file:
    count = sum(1 for _ in file)
with tempfile.TemporaryDirectory() as folder:
    options = {
        "path": "json", "data_files": source, "split": "train", "column": "content", "cache_dir": f"{folder}/cache",
        "output": f"{folder}/out", "num_perm": 250, "b": 25, "r": 10, "threshold": 0.7, "ngram": 5, "min_length": 1, "num_proc": 1,
    }  # fmt: skip
    minhash.main([text for key, value in options.items() for text in (f"--{key}", str(value))], standalone_mode=False)
with open(clusters, "w", encoding="utf-8") as file:
    json.dump([int(minhash.uf.find(item)) for item in range(count)], file)
