"""corpus.lock: a corpus without its content, from which it is made again, byte for byte, out of mirrors of its sources.

One Parquet file (zstd): a row a document, in the order of the shards, with every column but `content`; in its metadata, under
"megatron_snow.corpus_lock", a JSON header: the shards with their digests, columns and row groups, the settings of redaction, and
the versions of what wrote it. A file is found by its SHA-256, and no text is taken whose digest is not the document's.
"""

from megatron_snow.corpus.lock.header import Header, ShardLayout, read_header
from megatron_snow.corpus.lock.locking import lock_corpus
from megatron_snow.corpus.lock.restoring import MISSING, Restored, restore_corpus

__all__ = ["MISSING", "Header", "Restored", "ShardLayout", "lock_corpus", "read_header", "restore_corpus"]
