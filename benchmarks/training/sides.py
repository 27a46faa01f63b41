"""The two sides of a training benchmark: our engine, and Hugging Face's Llama with torch's fused AdamW.

Same weights at the start, tokens, micro-batches, clipping and update; `check_same` holds the losses of the first step against each
other. One difference stays, in the other side's favour: in bf16 we keep fp32 masters, moments and gradient sums, and Hugging Face's loop
as users write it has bf16 ones, so that its update moves a third of our bytes.
"""

from __future__ import annotations

import dataclasses
import gc
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import _get_current_function_mode_stack, _pop_mode_temporarily

from megatron_snow.config import Recipe
from megatron_snow.config.weights import weight_shapes
from megatron_snow.conversion.mapping import to_huggingface_weights
from megatron_snow.conversion.to_huggingface import llama_config
from megatron_snow.engine import Engine
from megatron_snow.model import build_snowcoder
from megatron_snow.model.initialisation import initial_weight

OURS, THEIRS = "megatron_snow", "Hugging Face Llama"
_RATE = 1e-4
_SAME = 5e-3  # relative, of the first loss: bf16 in another order
Step = Callable[[], float]  # one update; the loss before it


@dataclass(frozen=True)
class Timing:
    """Seconds of steps, the medians."""

    wall: float
    cpu: float  # of all threads
    first: float  # wall, of the first step, with what is compiled


def tokens_of(recipe: Recipe) -> Tensor:
    """int64 [global batch, seq + 1], made up: what a step costs does not depend on them."""
    shape = (recipe.training.global_batch_size, recipe.model.seq_length + 1)
    return torch.randint(0, recipe.tokenizer.vocab_size, shape, generator=torch.Generator().manual_seed(recipe.seed))


@contextmanager
def ours(recipe: Recipe) -> Iterator[tuple[Step, Engine]]:
    """A step of our engine, on the device that it takes."""
    engine, tokens = Engine(recipe, build_snowcoder(recipe)), tokens_of(recipe)
    yield lambda: engine.train_step(tokens, _RATE).loss, engine
    engine.close()


@contextmanager
def theirs(recipe: Recipe, device: torch.device) -> Iterator[Step]:
    """A step of Hugging Face's model; compiled as training.compile says. On a GPU its attention is cuDNN's."""
    with _no_modes():
        model = _llama(recipe).to(device)
        optimizer = _adamw(model, recipe)
        forward = torch.compile(model) if recipe.training.compile else model
    tokens, rows = tokens_of(recipe).to(device), recipe.training.micro_batch_size
    fast = sdpa_kernel([SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION], set_priority=True)

    def step() -> float:
        total = 0.0
        with _no_modes(), fast if device.type == "cuda" else nullcontext():
            optimizer.zero_grad(set_to_none=True)
            for part in tokens.split(rows):
                inputs, targets = part[:, :-1].contiguous(), part[:, 1:].contiguous()
                loss = forward(input_ids=inputs, labels=targets, shift_labels=targets, use_cache=False).loss * (len(part) / len(tokens))
                loss.backward()
                total += loss.item()
            torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.training.optimizer.clip_grad)
            optimizer.step()
        return total

    yield step


def _llama(recipe: Recipe) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    model, size = recipe.model, recipe.tokenizer.vocab_size
    config = LlamaConfig(**llama_config(recipe, 0, "float32"), attn_implementation="sdpa")
    weights = {name: initial_weight(name, shape, recipe.seed, model) for name, shape in weight_shapes(model, size).items()}
    llama = LlamaForCausalLM(config)
    missing, unknown = llama.load_state_dict(to_huggingface_weights(weights, model, size), strict=False)
    assert not unknown, unknown
    assert set(missing) <= {"lm_head.weight"}, missing  # tied: the embedding
    return llama.to(torch.bfloat16 if recipe.training.precision == "bf16" else torch.float32).train()


def _adamw(model: Any, recipe: Recipe) -> torch.optim.AdamW:
    chosen = recipe.training.optimizer
    decayed = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    others = [parameter for parameter in model.parameters() if parameter.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": chosen.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=_RATE, betas=(chosen.beta1, chosen.beta2), eps=chosen.eps, fused=True)


@contextmanager
def _no_modes() -> Iterator[None]:
    """Without our device layer's torch function mode, which is not the other side's to pay for."""
    if not _get_current_function_mode_stack():
        yield
        return
    with _pop_mode_temporarily(), _no_modes():
        yield


def check_same(one: float, other: float) -> None:
    """SystemExit where the first losses say that the two sides do not compute the same."""
    if not abs(one / other - 1) <= _SAME:
        raise SystemExit(f"the first losses are {one:.5f} ({OURS}) and {other:.5f} ({THEIRS}): not the same model")


def interleaved(sides: list[Step], steps: int) -> tuple[list[Timing], float]:
    """Time `steps` of each in turn, after a first one and a second that warms up; the median of the pairs' wall time, last over first."""
    first = [_timed(side) for side in sides]
    check_same(*(loss for _, _, loss in first)) if len(sides) == 2 else None
    for side in sides:
        side()
    times: list[list[tuple[float, float, float]]] = [[] for _ in sides]
    for number in range(steps):
        order = list(enumerate(sides))
        for place, side in order if number % 2 == 0 else reversed(order):  # neither is always the one that finds the caches full
            times[place].append(_timed(side))
    found = [
        Timing(statistics.median(wall for wall, _, _ in each), statistics.median(cpu for _, cpu, _ in each), begun[0])
        for each, begun in zip(times, first)
    ]
    return found, statistics.median(last[0] / mine[0] for mine, last in zip(times[0], times[-1]))


def _timed(step: Step) -> tuple[float, float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    loss = step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu, loss


def changed(recipe: Recipe, **training: Any) -> Recipe:
    """The recipe with keys of its `training` section set."""
    return dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, **training))


def forget() -> None:
    """Free what a finished side held: models hold cycles."""
    gc.collect()
    torch._dynamo.reset()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
