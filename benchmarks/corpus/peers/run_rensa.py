"""INPUT.jsonl CLUSTERS.json: rensa's RMinHash, all documents in one call, and RMinHashLSH."""

from rensa import RMinHash, RMinHashLSH
from shingling import BANDS, PERMUTATIONS, THRESHOLD, Sets, documents, shingles

sketches = RMinHash.from_token_sets([shingles(text) for text in documents()], PERMUTATIONS, 42)
lsh = RMinHashLSH(THRESHOLD, PERMUTATIONS, BANDS)
lsh.insert_pairs(list(enumerate(sketches)))
sets = Sets(len(sketches))
for number, others in enumerate(lsh.query_all(sketches)):
    for other in others:
        sets.join(number, other)
sets.write()
