"""What 6 TB would cost by the measured figures: a projection, not a measurement.

Assumptions, each from the rows that were measured:
- a stage takes a fixed time (its process's start) and a time a byte that it reads: the line through the CPU seconds of
  the two largest sizes, so what grows faster than linearly in that range is in the slope, and what does beyond it is not;
- each stage reads the share of the text that it read at the largest size (what the stages before left of it); with more
  repositories more is duplicate, so the later stages are rather too high than too low;
- peak memory is that of the largest size: tasks are shards of a fixed size, and shuffles have corpus.memory_bytes;
- every core is as fast as this one, the disks keep up, and nothing fails.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

TERABYTES = 6  # of raw text: The Stack v2 deduplicated is of this order


def project(rows: Sequence[Mapping[str, Any]], terabytes: float = TERABYTES) -> list[dict[str, Any]]:
    """Core hours a stage, from the rows of `stages`; none where fewer than two sizes were measured."""
    sizes = sorted({row["asked_megabytes"] for row in rows if "asked_megabytes" in row})
    if len(sizes) < 2:
        return []
    low, high = ({row["what"]: row for row in rows if row.get("asked_megabytes") == size and "documents" in row} for size in sizes[-2:])
    target, projected, total = terabytes * 1e12, [], 0.0
    for stage, large in high.items():
        small = low[stage]
        slope = (large["cpu_seconds"] - small["cpu_seconds"]) / (large["bytes"] - small["bytes"])
        hours = slope * target * large["bytes"] / high["collect"]["bytes"] / 3600
        total += hours
        row = {"what": f"projection {stage}", "terabytes": terabytes, "core_hours": round(hours)}
        projected.append(row | {"mb_per_cpu_second": round(1e-6 / slope, 1), "peak_bytes": large["peak_bytes"]})
    return [*projected, {"what": "projection all stages", "terabytes": terabytes, "core_hours": round(total)}]
