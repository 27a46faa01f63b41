"""Chooses an implementation for each op and can say why.

`reference` is the specification, `torch` the same in faster torch operations, `triton` kernels for a GPU. The environment variable
MSNOW_KERNELS=reference forces the specification everywhere, to tell a wrong kernel from a wrong model.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from megatron_snow.common.errors import UserError

KERNELS_VARIABLE = "MSNOW_KERNELS"


@dataclass(frozen=True)
class Implementation:
    """One way to compute an op."""

    name: str
    function: Callable[..., Any]
    usable: Callable[[], str]  # "" where it can run, else why it cannot
    remark: str = ""  # what whoever gets it should know


@dataclass(frozen=True)
class Choice:
    """What runs for an op, and the reason."""

    op: str
    implementation: Implementation
    reason: str


class Registry:
    """Implementations by op, the fastest last."""

    def __init__(self) -> None:
        self._implementations: dict[str, list[Implementation]] = {}

    def add(self, op: str, name: str, function: Callable[..., Any], usable: Callable[[], str] = lambda: "", remark: str = "") -> None:
        """Add a faster implementation of `op` than those before."""
        self._implementations.setdefault(op, []).append(Implementation(name, function, usable, remark))

    def choose(self, op: str) -> Choice:
        """The fastest implementation that can run here and that MSNOW_KERNELS allows."""
        forced = os.environ.get(KERNELS_VARIABLE, "")
        candidates = self._implementations[op]
        if forced:
            self._check_forced(forced)
            named = [item for item in candidates if item.name == forced]
            if named and not named[0].usable():
                return Choice(op, named[0], f"{KERNELS_VARIABLE}={forced}")
        refused: list[str] = []
        for item in reversed(candidates):
            reason = item.usable()
            if not reason:
                return Choice(op, item, "; ".join(refused) or item.remark or "the fastest there is for it")
            refused.append(f"{item.name}: {reason}")
        raise AssertionError(f"{op} has no reference")

    def function(self, op: str) -> Callable[..., Any]:
        """A function that calls the choice for `op`, made at its first call."""
        chosen: list[Callable[..., Any]] = []

        def call(*args: Any, **kwargs: Any) -> Any:
            if not chosen:
                chosen.append(self.choose(op).implementation.function)
            return chosen[0](*args, **kwargs)

        call.__name__ = op
        return call

    def explain(self) -> list[Choice]:
        """The choice for every op."""
        return [self.choose(op) for op in self._implementations]

    def _check_forced(self, forced: str) -> None:
        known = sorted({item.name for items in self._implementations.values() for item in items})
        if forced not in known:
            raise UserError(f"{KERNELS_VARIABLE}={forced}: no such implementation; choose one of {', '.join(known)}")
