"""The vocabulary is padded to a fixed multiple, so that a checkpoint has the same shapes in every layout."""

VOCABULARY_MULTIPLE = 128  # tensor parallel sizes up to it divide it; rows of 128 bf16 columns fill GPU tiles


def padded_vocab_size(vocab_size: int) -> int:
    """Rows of the embedding: `vocab_size` rounded up to a multiple of 128."""
    return -(-vocab_size // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE
