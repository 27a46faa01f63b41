"""A stage on a real Ray cluster of three nodes, of which one is killed on the way; run by test_ray.py in a process of its own.

python ray_run.py INPUTS OUTPUT NOTES
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import ray
import stage_functions
from ray.cluster_utils import Cluster

from megatron_snow.pipeline import RECORD, Execution, Stage, run_stage, tasks_by_shard


def kill_when_begun(cluster: Cluster, node: object, output: Path) -> None:
    """SIGKILL to a node's processes when the first task is done: others run on it then."""
    while not list(output.glob(f"[!.]*{RECORD}")):
        time.sleep(0.02)
    cluster.remove_node(node, allow_graceful=False)


def main(inputs: Path, output: Path, notes: Path) -> None:
    """Run, and print the seconds until the cluster was up and the tasks were done."""
    start = time.monotonic()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})  # no task runs where the run is led
    nodes = [cluster.add_node(num_cpus=2) for _ in range(2)]
    cluster.wait_for_nodes()
    print(f"{len(nodes) + 1} nodes up in {time.monotonic() - start:.1f} s", flush=True)
    threading.Thread(target=kill_when_begun, args=(cluster, nodes[0], output), daemon=True).start()
    stage = Stage("upper", 1, stage_functions.noted, {"seconds": 0.5, "notes": str(notes)}, (".txt",))
    run_stage(stage, tasks_by_shard(sorted(inputs.iterdir())), output, Execution("ray", 4, {"address": cluster.address}))
    print(f"done in {time.monotonic() - start:.1f} s", flush=True)
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
