#!/usr/bin/env bash
# The experiments of the student's report and of the SqueezeNet paper, on all images.
#
#   scripts/report_experiments.sh IMAGES OUT [--epochs E]
#
# IMAGES: a folder with train/<class>/… and test/<class>/…; OUT: where runs and studies are kept. Two trainings at a time, of one
# thread each. What is done is not done again, and what was stopped goes on with the same command. --epochs E: of every training, in
# place of the published numbers.
set -euo pipefail
if [ $# -lt 2 ]; then
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
images=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
here=$(realpath "$(dirname "$0")")
shift 2
epochs=
while [ $# -gt 0 ]; do
    case $1 in
        --epochs) epochs=$2; shift 2 ;;
        *) echo "report_experiments.sh: unknown option $1" >&2; exit 2 ;;
    esac
done
python=${PYTHON:-python3}
squeezekit() { "$python" -m squeezekit "$@"; }

# study NAME EPOCHS FLAG…: all points of a space, without the test images.
study() {
    local name=$1 most=$2
    shift 2
    [ -f "$out/$name/summary.json" ] || squeezekit search --data "$images" --sampler grid --epochs "${epochs:-$most}" --jobs 2 \
        --no-test -o "$out/$name" "$@"
}

# The report's network and recipe until they stop by themselves, on two seeds at a time.
once() {
    [ -f "$out/classic-$1/summary.json" ] || OMP_NUM_THREADS=1 squeezekit train --data "$images" --resume --recipe classic \
        --epochs "${epochs:-100}" --seed "$1" --out "$out/classic-$1"
}
once 0 &
first=$!
once 1
wait "$first"
once 2

study rates 6 --recipe classic --space learning-rate
# Half of the report's filters, so that its 36 networks fit into two hours.
study grid 9 --recipe classic --base-e 64 --incr-e 64 --space "$here/report-grid.toml"
for seed in 0 1 2; do
    study "claims-$seed" 8 --recipe modern --base-e 64 --incr-e 64 --pruner none --seed "$seed" --space "$here/paper-claims.toml"
done
"$python" "$here/paper_claims.py" "$out"/claims-? --picture "$out/claims.png"
