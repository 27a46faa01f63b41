"""`megatron-snow VERB` and `python tools/VERB.py`: one parser for both."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from functools import partial
from types import ModuleType

from megatron_snow import __version__
from megatron_snow.common.errors import UserError, exit_code_of, nearest
from megatron_snow.common.processes import interrupted_by_sigterm

# In the order of a run; each is the module megatron_snow/cli/VERB.py and the script tools/VERB.py.
VERBS = (
    "run_recipe",
    "collect_corpus",
    "language_report",
    "filter_corpus",
    "deduplicate_corpus",
    "redact_corpus",
    "decontaminate_corpus",
    "group_corpus",
    "compare_groupings",
    "lock_corpus",
    "restore_corpus",
    "train_tokenizer",
    "tokenizer_report",
    "preprocess_data",
    "trace_tokens",
    "take_down",
    "check_dataset",
    "annotate_corpus",
    "synthesize",
    "plan_run",
    "pretrain",
    "average_checkpoints",
    "convert_to_hf",
    "convert_from_hf",
    "evaluate",
    "score_domains",
    "report",
    "show_blend",
    "prepare_index",
    "show_batch",
    "doctor",
)


def _module(verb: str) -> ModuleType:
    return importlib.import_module(f"megatron_snow.cli.{verb}")


def _usage() -> str:
    rows = "\n".join(f"  {verb.replace('_', '-'):<22}{_module(verb).HELP}" for verb in VERBS)
    return f"usage: megatron-snow VERB [options]; megatron-snow VERB --help\n\n{rows}\n\nmegatron_snow {__version__}"


def run_verb(verb: str, arguments: Sequence[str]) -> int:
    """Parse `arguments` for a verb and run it; the exit code."""
    module = _module(verb)
    parser = argparse.ArgumentParser(
        prog=f"megatron-snow {verb.replace('_', '-')}", description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    module.add_arguments(parser)
    return exit_code_of(partial(_run, module, parser.parse_args(arguments)))


def _run(module: ModuleType, arguments: argparse.Namespace) -> int | None:
    if not hasattr(arguments, "explain"):
        return module.run(arguments)
    from megatron_snow.pipeline import WouldRun, explaining

    try:
        with explaining(arguments.explain), interrupted_by_sigterm():
            return module.run(arguments)
    except WouldRun as reasons:
        print(reasons)
        return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The `megatron-snow` command."""
    verb, *rest = arguments if arguments is not None else sys.argv[1:] or ["--help"]
    if verb in ("--help", "-h", "help"):
        return exit_code_of(lambda: print(_usage()))
    if verb == "--version":
        return exit_code_of(lambda: print(__version__))
    return run_verb(_known(verb), rest)


def tool(verb: str) -> None:
    """What a script of tools/ calls."""
    sys.exit(run_verb(verb, sys.argv[1:]))


def _known(verb: str) -> str:
    name = verb.replace("-", "_")
    if name in VERBS:
        return name

    def refuse() -> int:
        raise UserError(f"{verb}: no such verb{nearest(name, VERBS)}; megatron-snow --help lists them")

    sys.exit(exit_code_of(refuse))
