#!/usr/bin/env bash
# Everything worth measuring on a GPU, in one call meant for ten minutes; one JSON line a measurement.
#
#   benchmarks/gpu.sh IMAGES OUT [--wheels FOLDER] [--dry-run] [--seconds N] [--epochs E …] [--fields name=value …]
#
# IMAGES: a folder with train/<class>/… and test/<class>/…; OUT: where lines, runs and trained weights are kept.
# --wheels: a folder with wheels of the packages that this Python lacks; nothing is ever fetched from a network.
# --dry-run: the same on the CPU with a few images, to see that it runs. --seconds: what all may take, for the last training.
# --epochs, --fields: the schedules tried for each accuracy, and changes to network and recipe `fast`.
set -euo pipefail
if [ $# -lt 2 ]; then
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
images=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
shift 2
wheels= options=()
while [ $# -gt 0 ]; do
    case $1 in
        --wheels) wheels=$(realpath "$2"); shift 2 ;;
        --dry-run) options+=(--dry-run); shift ;;
        --seconds) options+=(--seconds "$2"); shift 2 ;;
        --epochs | --fields)
            options+=("$1"); shift
            while [ $# -gt 0 ] && [[ $1 != --* ]]; do options+=("$1"); shift; done ;;
        *) echo "gpu.sh: unknown option $1" >&2; exit 2 ;;
    esac
done

cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}"
if [ -n "$wheels" ]; then
    "$python" -m pip install --quiet --no-index --no-deps --upgrade --target "$out/packages" "$wheels"/*.whl
    export PYTHONPATH="$PYTHONPATH:$out/packages"
fi
"$python" benchmarks/gpu.py "$images" --out "$out" "${options[@]}" | tee -a "$out/gpu.jsonl"
