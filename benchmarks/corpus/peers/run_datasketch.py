"""INPUT.jsonl CLUSTERS.json: datasketch's MinHash (its default, SHA-1) and MinHashLSH."""

from datasketch import MinHash, MinHashLSH
from shingling import BANDS, PERMUTATIONS, ROWS, Sets, documents, shingles

lsh, pairs = MinHashLSH(params=(BANDS, ROWS), num_perm=PERMUTATIONS), []
count = 0
for count, text in enumerate(documents(), 1):
    sketch = MinHash(PERMUTATIONS)
    sketch.update_batch([shingle.encode() for shingle in shingles(text)])
    pairs += [(count - 1, other) for other in lsh.query(sketch)]
    lsh.insert(count - 1, sketch)
sets = Sets(count)
for pair in pairs:
    sets.join(*pair)
sets.write()
