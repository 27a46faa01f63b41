"""Compare the languages of documents with what their endings and their sources say.

    megatron-snow language-report --input corpus/collected --output reports/languages
    megatron-snow language-report --input 'starcoderdata/*.parquet' --output reports/starcoder --workers 8

Prints the largest confusions and writes all of them to OUTPUT/languages.json: an ending's usual language against linguist's by
name and content (.h: C or C++), and the language that the documents carry against linguist's.
"""

from __future__ import annotations

import argparse

from megatron_snow.cli.corpus_arguments import add_corpus_arguments, job_of

HELP = "compare the languages of documents with their endings"
_SHOWN = 15  # confusions of each kind


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    add_corpus_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Compare, and print the largest confusions."""
    from megatron_snow.corpus.language_report import REPORT, language_report

    job = job_of(args, "language-report", lambda corpus: corpus)
    output = job.output("languages")
    report = language_report(job.inputs("collected"), output, job.execution)
    print(f"{output / REPORT}: {report['documents']:,} documents")
    for section, other in (("by_ending", "usual"), ("by_source", "said")):
        known = report[section]
        if known["agree"] is not None:
            print(f"{section.replace('_', ' ')}: {100 * known['agree']:.2f} % are the language that linguist finds")
        for row in known["confusions"][:_SHOWN]:
            print(f"  {row['documents']:>9,}  {row['ending']:<10} {row[other]:<24} -> {row['linguist']}")
