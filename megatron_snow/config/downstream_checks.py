"""Rules of evaluation while training: when, on what, and the commands' places to fill in."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from string import Formatter

from megatron_snow.common.errors import nearest
from megatron_snow.config.schema import Recipe
from megatron_snow.config.workspace import benchmark_label

Problem = tuple[str, str]
# What a command may name in braces; training/downstream_child.py fills them in.
PLACES = ("python", "checkpoint", "step", "folder", "benchmark", "result", "limit", "max_new_tokens", "timeout")
_KEY = "evaluation.downstream"


def check_downstream(recipe: Recipe) -> Iterator[Problem]:
    """Every rule that `evaluation.downstream` breaks."""
    settings, interval = recipe.evaluation.downstream, recipe.training.save_interval
    for key, least in (("every", 0), ("limit", 0), ("threads", 1)):
        if getattr(settings, key) < least:
            yield f"{_KEY}.{key}", f"{getattr(settings, key)} is below {least}"
    if interval > 0 and settings.every > 0 and settings.every % interval:
        near = max(1, round(settings.every / interval)) * interval
        yield (
            f"{_KEY}.every",
            f"{settings.every} is no multiple of training.save_interval ({interval}): a checkpoint is evaluated; take {near}",
        )
    if settings.enabled and not recipe.downstream_benchmarks:
        yield f"{_KEY}.benchmarks", "none given, nor in evaluation.benchmarks; name one, or leave every and phase_ends out"
    labels = [benchmark_label(name) for name in recipe.downstream_benchmarks]
    for label in sorted({label for label in labels if labels.count(label) > 1}) if settings.benchmarks else ():
        yield f"{_KEY}.benchmarks", f"two are called {label}, and would write the same results; rename one file"
    yield from _check_commands(settings.commands)


def _check_commands(commands: Sequence[str]) -> Iterator[Problem]:
    for number, command in enumerate(commands):
        key = f"{_KEY}.commands[{number}]"
        try:
            words = shlex.split(command)
            places = [name for _, name, _, _ in Formatter().parse(command) if name is not None]
        except ValueError as error:
            yield key, f"{command!r}: {error}; quotes and braces come in pairs, a brace itself is written twice"
            continue
        if not words:
            yield key, "is empty"
        for name in sorted(set(places) - set(PLACES)):
            yield key, f"{{{name}}} is no place that is filled in{nearest(name, PLACES)}; there are {', '.join(PLACES)}"
    if not any("{result}" in command for command in commands):
        yield f"{_KEY}.commands", "none names {result}, the JSON file that is read: {status, pass_at_1, problems}"
