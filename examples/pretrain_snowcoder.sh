#!/usr/bin/env bash
""":"
# Train the phases of a recipe: general, continued and enhanced pretraining (Arctic-SnowCoder, paper 2).
#
# usage: bash examples/pretrain_snowcoder.sh --recipe FILE [--set key=value ...] [--output DIR]
#        torchrun [--nproc-per-node N] examples/pretrain_snowcoder.sh --recipe FILE ...
#
#   --recipe FILE        what to train; examples/recipes/tiny_cpu.yaml is the one for a laptop
#   --set key=value ...  change keys of the recipe: --set training.save_interval=10 seed=7
#   --output DIR         where metrics.jsonl, held_out.jsonl and checkpoints/ go (default: the recipe's workspace);
#                        datasets are read there too, or, where it has none, in the recipe's workspace
#   --until-phase NAME   stop at the end of this phase
#   --check              check recipe and data and exit
#   --help               print this
#
# The same command again goes on from the newest whole checkpoint. With bash it starts as many
# processes as parallel.processes says; on several machines start it on each with NNODES, NODE_RANK,
# MASTER_ADDR and MASTER_PORT set. OMP_NUM_THREADS: cores over processes, unless set. Ctrl-C or SIGTERM:
# the step is finished and saved. Exit codes: 0 done or stopped and saved, 2 a mistake found before the
# start, 1 (torchrun's) one that was met later; the message stands above torchrun's own.
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

# A mistake in the recipe is said once, here, and not by every rank. The first word is the number of processes.
summary=$("$python" -m megatron_snow pretrain --check "$@") || exit $?
echo "$summary"
ranks=$(( ${summary%% *} / ${NNODES:-1} ))
[ "$ranks" -gt 0 ] || ranks=1

where=(--standalone)
if [ -n "${NNODES:-}" ]; then
    where=(--nnodes "$NNODES" --node-rank "${NODE_RANK:-0}" --master-addr "${MASTER_ADDR:-127.0.0.1}" --master-port "${MASTER_PORT:-29500}")
fi
cores=$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
threads=$(( cores / ranks ))
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(( threads > 0 ? threads : 1 ))}

# torchrun answers a signal by ending its ranks and exit code 1; so the ranks get it first hand, finish and save.
"$python" -m torch.distributed.run "${where[@]}" --nproc-per-node "$ranks" --signals-to-handle SIGHUP,SIGQUIT "$0" "$@" &
launcher=$!
terminate='import psutil, sys; [rank.terminate() for rank in psutil.Process(int(sys.argv[1])).children()]'
trap '"$python" -c "$terminate" "$launcher"' INT TERM
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
