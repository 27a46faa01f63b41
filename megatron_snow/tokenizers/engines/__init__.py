"""Faster encoders behind `Tokenizer.encode_batch`: an engine is used only where it gives the reference's ids.

`bpe` is our own, for SentencePiece's BPE; `fastokens` (pip install 'megatron-snow[tokenizers-fast]') is for byte-level BPE.
`parity` holds an engine against the reference: when it is chosen, and again on one text in SAMPLED while it works.
"""

from megatron_snow.tokenizers.engines.choosing import ENGINES, Choice, choice_of, choose_engine
from megatron_snow.tokenizers.engines.parity import EngineError

__all__ = ["ENGINES", "Choice", "EngineError", "choice_of", "choose_engine"]
