"""Drop documents by a profile of rules: long lines, few letters, generated files, data written as text.

megatron-snow filter-corpus --input corpus/collected --output corpus/filtered --workers 8
megatron-snow filter-corpus --input 'stack/*.parquet' --output kept --profile starcoder2 --threshold long_line=2000
megatron-snow filter-corpus --recipe examples/recipes/tiny_cpu.yaml
megatron-snow filter-corpus --list-rules --profile opencoder-python

OUTPUT/rejects/RULE.jsonl holds a sample of what each rule dropped.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from megatron_snow.cli.corpus_arguments import add_corpus_arguments, add_options, finish, job_of, with_options
from megatron_snow.common.errors import UserError
from megatron_snow.config import Filters

HELP = "drop documents by a profile of rules"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    add_corpus_arguments(parser)
    add_options(parser, Filters, ("profile", "rejects"))
    parser.add_argument(
        "--threshold", action="append", default=[], metavar="RULE=NUMBER", help="in place of the profile's; inf or -inf switches a rule off"
    )
    parser.add_argument("--list-rules", action="store_true", help="print the profile's rules and where they come from, and do nothing")


def run(args: argparse.Namespace) -> None:
    """Filter, and print what was kept and dropped; or list the rules."""
    thresholds = _thresholds(args.threshold)
    if args.list_rules:
        _list_rules(with_options(Filters(thresholds=thresholds), args))
        return
    from megatron_snow.corpus.stages import filter_documents

    def filters(given: Filters) -> Filters:
        return with_options(replace(given, thresholds={**given.thresholds, **thresholds}), args)

    job = job_of(args, "filter-corpus", lambda corpus: replace(corpus, filters=filters(corpus.filters)))
    output = job.output("filtered")
    finish(job, filter_documents(job.corpus, job.inputs("collected"), output, job.execution), output)


def _thresholds(texts: list[str]) -> dict[str, float]:
    thresholds = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            thresholds[name] = float(number)
        except ValueError:
            raise UserError(f"--threshold {text}: give RULE=NUMBER, for example long_line=2000") from None
    return thresholds


def _list_rules(filters: Filters) -> None:
    from megatron_snow.corpus.filters import load_profile

    profile = load_profile(filters.profile, filters.thresholds)
    where = f"documents in {', '.join(profile.languages)}" if profile.languages else "all documents"
    print(f"{profile.name}, version {profile.version}: {len(profile.rules)} rules for {where}")
    for rule in profile.rules:
        languages = f"only {', '.join(rule.only)}" if rule.only else f"not {', '.join(rule.exceptions)}" if rule.exceptions else ""
        print("  ".join(part for part in (f"{rule.name:<22}", f"{rule.condition:<30}", languages, f"({rule.source})") if part))
