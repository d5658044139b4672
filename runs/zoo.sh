#!/usr/bin/env bash
# The networks in the box, from the images: a wide network, three small ones that learn its answers, all compressed.
#
#   runs/zoo.sh IMAGES OUT [--epochs E] [--rounds R] [--baselines]
#
# IMAGES: a folder with train/<class>/… and test/<class>/…; OUT: where runs and files are kept. On a GPU where there is one,
# else on the CPU; docs/models/README.md says how long that takes. What is done is not done again, and what was stopped goes on
# with the same command. --epochs, --rounds: of every training and of every round of compression, in place of those of the box.
# --baselines: afterwards the networks that the leaderboard compares with, trained, in eight bits, and compressed.
set -euo pipefail
if [ $# -lt 2 ]; then
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
images=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
shift 2
epochs=20 rounds= baselines=
while [ $# -gt 0 ]; do
    case $1 in
        --epochs) epochs=$2; shift 2 ;;
        --rounds) rounds=$2; shift 2 ;;
        --baselines) baselines=yes; shift ;;
        *) echo "zoo.sh: unknown option $1" >&2; exit 2 ;;
    esac
done
squeezekit() { "${PYTHON:-python3}" -m squeezekit "$@"; }

# train NAME FLAG…: a run in OUT/NAME.
train() {
    local name=$1
    shift
    [ -f "$out/$name/summary.json" ] || squeezekit train --data "$images" --out "$out/$name" --resume --network "$name" \
        --recipe modern --batch-size 512 --learning-rate 0.1 --cutout 0.25 --epochs "$epochs" "$@"
}

# squeeze RUN FILE PRESSURE EPOCHS FLAG…: one round of training on the grid.
squeeze() {
    local run=$1 file=$out/$2.sqz pressure=$3 length=${rounds:-$4}
    shift 4
    [ -f "$file" ] || squeezekit compress "$out/$run" --resume --pressure "$pressure" --epochs "$length" -o "$file" "$@"
}

# The test images are left to the compressed files.
train wide --mirrored --no-test
for name in nano tiny small; do
    train $name --mirrored --no-test --teacher "$out/wide" --temperature 2
done
# Pressures at which the files have at most 32, 96, 250 and 500 KB.
squeeze nano cifar10-nano 0.0622 11 --teacher "$out/wide"
squeeze tiny cifar10-tiny 0.0288 6 --teacher "$out/wide"
squeeze small cifar10-small 0.0132 5 --teacher "$out/wide"
squeeze wide cifar10-best 0.00902 7

if [ ! -f "$out/digits-nano.sqz" ]; then
    [ -f "$out/digits/summary.json" ] || squeezekit train --data digits --out "$out/digits" --resume --network nano \
        --base-e 32 --incr-e 16 --stem-width 32 --epochs 60 --no-test
    squeezekit compress "$out/digits" --resume --max-bytes 8192 -o "$out/digits-nano.sqz"
fi

# baseline NAME FLAG…: a network to compare with, as it is, in eight bits, and compressed at half a point of accuracy.
baseline() {
    local name=$1
    train "$@"
    [ -f "$out/$name-int8.onnx" ] || squeezekit export "$out/$name" --to onnx --int8 --data "$images" -o "$out/$name-int8.onnx"
    [ -f "$out/$name.sqz" ] || squeezekit compress "$out/$name" --resume ${rounds:+--epochs "$rounds"} -o "$out/$name.sqz" ||
        [ -f "$out/$name.sqz" ] # Written also where nothing keeps the promise.
}

if [ -n "$baselines" ]; then
    baseline resnet8
    baseline resnet20
    baseline mobilenetv2-0.5
    # Without batch normalisation Muon has nothing to do; this is what it was published with.
    baseline tiniest --batch-size 128 --optimizer adamw --learning-rate 0.02
fi
ls -l "$out"/*.sqz
