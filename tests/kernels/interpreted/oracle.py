"""What makes a kernel right: float64, guard bands, shuffled programs (facts and results: docs/kernels.md)."""

from __future__ import annotations

import importlib.util
import inspect
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from triton.runtime.interpreter import interpreter_builder

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
BAND = 1 << 13  # more than any block: what a kernel without a mask would overwrite
SMALLEST_FLOOR = 2.0**-22  # two units in the last place of fp32: the inside of every kernel is fp32


class Wrong(AssertionError):
    """A kernel's result is not what its specification says."""


def demand(true: bool, what: str) -> None:
    """Wrong(what) unless true."""
    if not true:
        raise Wrong(what)


@dataclass(frozen=True)
class Guarded:
    """A tensor between bands, its rows between gaps; bands and gaps are NaN and must stay so."""

    flat: Tensor
    outside: Tensor
    view: Tensor

    def check(self, name: str) -> Tensor:
        """The tensor, written everywhere and nowhere else."""
        demand(bool(self.flat[self.outside].isnan().all()), f"{name}: written outside its bounds")
        demand(not bool(self.view.isnan().any()), f"{name}: not written everywhere, or NaN")
        return self.view


def guarded(shape: tuple[int, ...], dtype: torch.dtype, gap: int = 0) -> Guarded:
    """NaN everywhere; `gap` elements lie between the end of one last dimension and the next beginning."""
    wide = (*shape[:-1], shape[-1] + gap)
    size = torch.Size(wide).numel()
    flat, outside = torch.full((size + 2 * BAND,), float("nan"), dtype=dtype), torch.ones(size + 2 * BAND, dtype=torch.bool)
    view, inside = (x[BAND : BAND + size].view(wide)[..., : shape[-1]] for x in (flat, outside))
    inside.fill_(False)
    return Guarded(flat, outside, view)


class Draw:
    """Random shapes, scales, strides and values, all from one seed."""

    def __init__(self, seed: int, dtype: torch.dtype) -> None:
        self.seed, self.dtype = seed, dtype
        self.random = random.Random(f"{seed} {dtype}")
        self.generator = torch.Generator().manual_seed(self.random.randrange(1 << 30))

    def one_of(self, *choices: Any) -> Any:
        """One of them."""
        return self.random.choice(choices)

    def scale(self) -> float:
        """10^U(-3, 1.5)."""
        return 10 ** self.random.uniform(-3, 1.5)

    def tensor(self, *shape: int, scale: float = 1.0, dtype: torch.dtype | None = None) -> Tensor:
        """Normal values in a guarded tensor of this case's dtype, with a random gap between rows."""
        values = torch.randn(shape, generator=self.generator) * scale
        tensor = guarded(shape, dtype or self.dtype, self.one_of(0, 1, 7, 16)).view
        return tensor.copy_(values)


def error(found: Tensor, exact: Tensor) -> float:
    """||found - exact|| / ||exact||."""
    return float((found.double() - exact).norm() / exact.norm().clamp_min(1e-300))


def rounding_floor(exact: Tensor, dtype: torch.dtype) -> float:
    """The error of rounding the exact result once."""
    return max(error(exact.to(dtype), exact), SMALLEST_FLOOR)


def within_floor(name: str, found: Tensor, exact: Tensor, plain: Tensor | None = None) -> None:
    """For elementwise ops and norms: 1.25 times the rounding floor, or `plain`'s error where the formula itself loses digits in fp32."""
    bound = 1.25 * max(rounding_floor(exact, found.dtype), 0.0 if plain is None else error(plain, exact))
    demand(error(found, exact) <= bound, f"{name}: error {error(found, exact):.3g} over {bound:.3g}")


def within_twice(name: str, found: Tensor, plain: Tensor, exact: Tensor) -> None:
    """For reductions and losses: twice the error of torch in the same dtype, and the floor."""
    bound = 2 * error(plain, exact) + rounding_floor(exact, found.dtype)
    demand(error(found, exact) <= bound, f"{name}: error {error(found, exact):.3g} over {bound:.3g}")


@contextmanager
def shuffled_programs(seed: int) -> Iterator[None]:
    """The interpreter runs programs one after another; in here in another order, in which what depends on it differs."""
    shipped = interpreter_builder.set_grid_idx

    def set_grid_idx(x: int, y: int, z: int) -> None:
        order = list(range(interpreter_builder.grid_dim[0]))
        random.Random(seed).shuffle(order)
        shipped(order[x], y, z)

    interpreter_builder.set_grid_idx = set_grid_idx
    try:
        yield
    finally:
        del interpreter_builder.set_grid_idx


def in_any_order(run: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """run() twice, in order and shuffled; the results must agree to the bit."""
    results = run()
    with shuffled_programs(1):
        again = run()
    for name, result in results.items():
        demand(torch.equal(result, again[name]), f"{name}: depends on the order of the programs")
    return results


def gradients(function: Callable[..., Tensor], inputs: list[Tensor], upstream: Tensor) -> list[Tensor]:
    """[output, gradient of each input], in the inputs' dtype."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    output = function(*leaves)
    output.backward(upstream.to(output.dtype))
    return [output.detach(), *(x.grad for x in leaves)]


def mutant(module: ModuleType, old: str, new: str, folder: Path) -> ModuleType:
    """The module with one piece of its source replaced."""
    source = inspect.getsource(module)
    assert source.count(old) == 1, f"{old!r} is {source.count(old)} times in {module.__name__}"
    path = folder / "mutant.py"
    path.write_text(source.replace(old, new), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("mutant", path)
    assert spec is not None
    assert spec.loader is not None
    changed = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(changed)
    return changed


def caught(prove: Callable[[Any, Draw], None], changed: ModuleType, cases: int = 8) -> bool:
    """Is one of the first cases of `make test` wrong for it?"""
    for seed in range(cases):
        for dtype in DTYPES:
            try:
                prove(changed, Draw(seed, dtype))
            except Wrong:
                return True
    return False
