"""training.compile: norm, SwiGLU and RoPE each as one loop forward and one backward, made by torch.compile of `reference.py`.

Ops and not layers: between them lie megatron-core's linears, autograd functions around process groups, of which Dynamo makes a
graph break each, and collectives; matrix products and attention are a library's in either case. A region keeps of its inputs what its
backward pass needs and computes the rest again, where eager mode keeps fp32 copies.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch.overrides import _get_current_function_mode_stack, _pop_mode_temporarily

from megatron_snow.kernels import reference


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as a whole graph, compiled at its first call and for the first other shape, then for any.

    Torch function modes (the CPU's device layer) are left outside: Dynamo would trace them with every operation.
    """
    graph = functools.cache(lambda: torch.compile(function, fullgraph=True))  # at the first call: it imports all of Dynamo

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        with ExitStack() as modes:
            for _ in _get_current_function_mode_stack():
                modes.enter_context(_pop_mode_temporarily())
            return graph()(*args)

    return call


rms_norm = compiled(reference.rms_norm)
swiglu = compiled(reference.swiglu)
rope = compiled(reference.rope)
