"""Batched greedy completions equal transformers' own, one prompt at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from megatron_snow.common.errors import UserError
from megatron_snow.evaluation.generate import Generator

PROMPTS = [
    "def decode(self, s):",
    "x",
    "class JSONDecoder(object):\n    def __init__(self, *, object_hook=None):\n        pass\n\n    def raw",
]


@pytest.fixture(scope="module")
def generator(model_folder: Path) -> Generator:
    return Generator.load(model_folder)


def complete(generator: Generator, prompts: list[str], stops: list[tuple[str, ...]], limit: int) -> tuple[list[str], int]:
    steps: list[int] = []
    return generator.complete(prompts, stops, limit, lambda: steps.append(1)), len(steps)


def test_equals_transformers_generate(generator: Generator) -> None:
    texts, steps = complete(generator, PROMPTS, [()] * 3, 150)  # more than the room of the cache's buffers
    assert steps == 150
    for prompt, text in zip(PROMPTS, texts):
        ids = torch.tensor([generator.encode(prompt)])
        output = generator.model.generate(ids, max_new_tokens=150, do_sample=False, pad_token_id=0)[0]
        whole = generator.decode(output.tolist())
        assert whole == prompt + text
    assert len(set(texts)) == 3


def test_completions_keep_leading_whitespace(generator: Generator) -> None:
    ids = generator.encode("def f():\n    return 1")
    assert generator._completion(ids[:4], ids[4:]) == generator.decode(ids)[len(generator.decode(ids[:4])) :]
    assert generator.decode(ids) == "def f():\n    return 1"


def test_stops_when_every_row_has_stopped(generator: Generator) -> None:
    texts, _ = complete(generator, PROMPTS, [()] * 3, 64)
    stops = [(text[20:24],) for text in texts]
    stopped, steps = complete(generator, PROMPTS, stops, 64)
    assert steps < 64
    assert steps % 16 == 0
    assert all(text.startswith(short) and stop[0] in short for text, short, stop in zip(texts, stopped, stops))


def test_the_end_of_text_token_ends_a_row(generator: Generator) -> None:
    ids = torch.tensor([generator.encode(PROMPTS[0])])
    generated = generator.model.generate(ids, max_new_tokens=12, do_sample=False, pad_token_id=0)[0, ids.size(1) :].tolist()
    first = generated.index(generated[8])
    generator.model.generation_config.eos_token_id = generated[8]
    try:
        (text,), steps = complete(generator, PROMPTS[:1], [()], 64)
    finally:
        generator.model.generation_config.eos_token_id = None
    assert steps == first + 1
    assert text == generator._completion(ids[0].tolist(), generated[:first])


def test_folders_that_are_no_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config.json"):
        Generator.load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(UserError, match="transformers cannot load it"):
        Generator.load(tmp_path)
