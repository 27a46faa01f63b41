"""Write the report of a run: one HTML file that opens offline, from manifests and metrics alone.

megatron-snow report --run runs/tiny_cpu
"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "write the HTML report of a run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", required=True, metavar="DIR", help="the run's folder")
    parser.add_argument("--output", metavar="FILE", help="the HTML file; default DIR/report.html")


def run(arguments: argparse.Namespace) -> None:
    from megatron_snow.config import Workspace
    from megatron_snow.report import write_report

    workspace = Workspace(Path(arguments.run))
    print(write_report(workspace, Path(arguments.output) if arguments.output else workspace.report))
