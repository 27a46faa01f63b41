"""One HTML file that opens offline, from manifests and metrics alone.

`figures.py` reads a run's folder into numbers, `plots.py` draws, `page.py` fills `page.html.j2`.
"""

from megatron_snow.report.page import write_report

__all__ = ["write_report"]
