#!/usr/bin/env bash
# N jobs of pretrain.sbatch one after another, where a cluster does not let jobs requeue themselves.
#
#   examples/slurm/chain.sh N [options of sbatch] [-- options of pretrain_snowcoder.sh]
#
# Each begins when the one before has ended, however it ended (afterany: a machine that fails must not break the chain), goes on
# from the newest checkpoint, and ends at once where the run is done or two links failed without getting further.
set -eu
case ${1:-} in
    ''|*[!0-9]*|0) sed -n '2,/^set/p' "$0" | grep '^#' | cut -c3-; exit 2 ;;
esac
links=$1
shift
options=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    options+=("$1")
    shift
done
[ $# -eq 0 ] || shift

before=
for link in $(seq "$links"); do
    job=$(sbatch --parsable --no-requeue --export=ALL,CHAIN_LINK="$link" ${before:+--dependency=afterany:$before} \
        "${options[@]}" "$(dirname "$0")/pretrain.sbatch" "$@")
    before=${job%%;*}
    echo "$before"
done
