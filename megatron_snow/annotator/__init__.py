"""Floor 3: the quality annotator of paper 2.3, and the top-ranked tokens it selects.

Read in order: `encoder` (a frozen BERT and the sections of a file that it reads), `head` (logistic
regression on its features), then the three stages
`training`, `scoring`, `selection`. Torch and transformers are imported when a stage runs.
"""

from megatron_snow.annotator.scoring import score_documents
from megatron_snow.annotator.selection import select_top
from megatron_snow.annotator.training import train_annotator

__all__ = ["score_documents", "select_top", "train_annotator"]
