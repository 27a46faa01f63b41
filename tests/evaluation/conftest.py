"""A small Hugging Face model of random weights, with a tokenizer of the standard library's text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from megatron_snow.tokenizers import train_sentencepiece, write_huggingface_tokenizer


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("model")
    texts = [Path(json.__path__[0], name).read_text() for name in ("decoder.py", "encoder.py", "scanner.py", "__init__.py")]
    train_sentencepiece(texts, 700, folder / "tokenizer.model")
    write_huggingface_tokenizer(folder / "tokenizer.model", folder)
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=700,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=None,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
