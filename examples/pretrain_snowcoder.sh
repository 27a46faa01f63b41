#!/usr/bin/env bash
""":"
# Train the phases of a recipe: general, continued and enhanced pretraining (Arctic-SnowCoder, paper 2).
#
# usage: bash examples/pretrain_snowcoder.sh --recipe FILE [--set key=value ...] [--output DIR]
#        torchrun [--nproc-per-node N] examples/pretrain_snowcoder.sh --recipe FILE ...
#
#   --recipe FILE        what to train; examples/recipes/tiny_cpu.yaml is the one for a laptop
#   --set key=value ...  change keys of the recipe: --set training.save_interval=10 seed=7
#   --output DIR         where metrics.jsonl, held_out.jsonl, tensorboard/ and checkpoints/ go (default: the recipe's workspace);
#                        datasets are read there too, or, where it has none, in the recipe's workspace
#   --until-phase NAME   stop at the end of this phase
#   --profile A-B        a trace of steps A to B by torch's profiler, a rank, into DIR/profile/
#   --memory-snapshot A-B  what these steps allocate on each GPU, into DIR/profile/
#   --wandb PROJECT      send the metrics to Weights & Biases too (without it nothing leaves this machine)
#   --check              check recipe and data and exit
#   --help               print this
#
# The same command again goes on from the newest whole checkpoint. With bash it starts as many
# processes as parallel.processes says; on several machines start it on each with NNODES, NODE_RANK,
# MASTER_ADDR and MASTER_PORT set (docs/clusters.md; examples/slurm/). OMP_NUM_THREADS: cores over
# processes, unless set. Ctrl-C, SIGTERM or SIGUSR1: the step is finished and saved. Exit codes: 0 done or
# stopped and saved, 2 a mistake found before the start, 1 (torchrun's) one that was met later, or on
# another machine; the message stands above torchrun's own.
#
# The datasets are made by: megatron-snow run-recipe --recipe FILE

# This file is a bash script and a Python program: to Python, all that stands between the quotes is a
# docstring. The usage is the comment above, down to the first empty line.
usage() { sed -n '3,/^$/p' "$0" | cut -c3-; }

set -u
root=$(cd "$(dirname "$0")/.." && pwd)
python="$root/.venv/bin/python"
[ -x "$python" ] || python=$(command -v python3 || command -v python) || { echo "error: no python on PATH; run make setup" >&2; exit 2; }
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"

[ $# -gt 0 ] || { usage; exit 0; }
for argument in "$@"; do
    case $argument in
        -h|--help) usage; exit 0 ;;
        --check) exec "$python" -m megatron_snow pretrain "$@" ;;
    esac
done

# A mistake in the recipe is said once, here, and not by every rank. Of several machines each may see other files, so there
# the ranks compare what they see, and a mistake is said on all.
hosts=${NNODES:-1}
if [ "$hosts" -gt 1 ]; then
    processes=$("$python" -m megatron_snow pretrain --processes "$@") || exit $?
    [ $(( processes % hosts )) -eq 0 ] || { echo "error: parallel.processes: $processes is not a multiple of NNODES $hosts" >&2; exit 2; }
else
    summary=$("$python" -m megatron_snow pretrain --check "$@") || exit $?
    echo "${summary%%$'\n'*}"  # what each phase reads the main rank prints
    processes=${summary%% *}
fi
ranks=$(( processes / hosts ))

where=(--standalone)
if [ -n "${NNODES:-}" ]; then
    rank=${NODE_RANK:-${SLURM_NODEID:-0}}
    where=(--nnodes "$NNODES" --node-rank "$rank" --master-addr "${MASTER_ADDR:-127.0.0.1}" --master-port "${MASTER_PORT:-29500}")
fi
cores=$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
threads=$(( cores / ranks ))
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(( threads > 0 ? threads : 1 ))}

# torchrun answers a signal by ending its ranks and exit code 1; so it hears none (Slurm sends them to all processes of a
# job), and the ranks get theirs first hand, finish and save. Before there are ranks, it ends.
launch='
import signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, lambda *_: None)
from torch.distributed.run import main
sys.exit(main())'
stop='
import psutil, signal, sys
launcher = psutil.Process(int(sys.argv[1]))
for process in launcher.children() or [launcher]:
    process.send_signal(signal.SIGHUP if process == launcher else signal.SIGTERM)'
"$python" -c "$launch" "${where[@]}" --nproc-per-node "$ranks" --signals-to-handle SIGHUP,SIGQUIT "$0" "$@" &
launcher=$!
trap '"$python" -c "$stop" "$launcher"' INT TERM USR1
while true; do
    wait "$launcher"
    code=$?
    kill -0 "$launcher" 2>/dev/null || exit "$code"
done
":"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from megatron_snow.cli.main import run_verb

if __name__ == "__main__":
    if sys.argv[1:] and not {"-h", "--help"} & set(sys.argv[1:]):
        sys.exit(run_verb("pretrain", sys.argv[1:]))
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print("\n".join(line[2:] for line in __doc__.split("\n\n")[0].splitlines()[1:]) + "\n")
