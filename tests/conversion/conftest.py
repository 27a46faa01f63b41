"""A small tokenizer of the standard library's text, and Hugging Face models of random weights in its vocabulary."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from megatron_snow.tokenizers import train_sentencepiece, write_huggingface_tokenizer

VOCAB = 700  # not a multiple of 128: the vocabulary is padded


@pytest.fixture(scope="session")
def tokenizer_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    texts = [Path(json.__path__[0], name).read_text() for name in ("decoder.py", "encoder.py", "scanner.py", "__init__.py")]
    train_sentencepiece(texts, VOCAB, path)
    return path


@pytest.fixture(scope="session")
def make_llama(tokenizer_model: Path) -> Callable[..., Path]:
    """make(folder, groups=2, tied=True, dtype="float32") -> the folder, as transformers itself saves it."""

    def make(folder: Path, groups: int = 2, tied: bool = True, dtype: str = "float32") -> Path:
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        torch.manual_seed(groups)
        config = LlamaConfig(
            vocab_size=VOCAB,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=groups,
            max_position_embeddings=128,
            rms_norm_eps=1e-5,
            initializer_range=0.1,
            rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
            tie_word_embeddings=tied,
        )
        model = LlamaForCausalLM(config)
        for name, parameter in model.named_parameters():
            if "norm" in name:  # all ones would hide a swap of two norms
                torch.nn.init.uniform_(parameter, 0.5, 1.5)
        model.to(getattr(torch, dtype)).save_pretrained(folder)
        write_huggingface_tokenizer(tokenizer_model, folder)
        shutil.copyfile(tokenizer_model, folder / "tokenizer.model")
        return folder

    return make
