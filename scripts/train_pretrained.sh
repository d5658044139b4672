#!/usr/bin/env bash
# The pretrained models for digits and CIFAR-10, from the images: a teacher, small networks that learn its answers, all compressed.
#
#   scripts/train_pretrained.sh IMAGES OUT [--epochs E] [--rounds R]
#
# IMAGES: a folder with train/<class>/… and test/<class>/…; OUT: where runs and files are kept. docs/results/models/README.md says
# how long it takes. What is done is not done again, and what was stopped goes on with the same command. --epochs E: of every
# training, --rounds R: of every round of compression, in place of the published numbers.
set -euo pipefail
if [ $# -lt 2 ]; then
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
images=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
shift 2
epochs= rounds=
while [ $# -gt 0 ]; do
    case $1 in
        --epochs) epochs=$2; shift 2 ;;
        --rounds) rounds=$2; shift 2 ;;
        *) echo "train_pretrained.sh: unknown option $1" >&2; exit 2 ;;
    esac
done
squeezekit() { "${PYTHON:-python3}" -m squeezekit "$@"; }

# train NETWORK EPOCHS FLAG…: a run in OUT/NETWORK, on all training images. The test images are left to the compressed file.
train() {
    local network=$1 most=$2
    shift 2
    [ -f "$out/$network/summary.json" ] || squeezekit train --data "$images" --out "$out/$network" --resume --network "$network" \
        --recipe fast --validation-share 0 --no-test --epochs "${epochs:-$most}" "$@"
}

# squeeze RUN NAME BYTES EPOCHS FLAG…: OUT/NAME.sqz, of at most so many bytes.
squeeze() {
    local run=$1 name=$2 bytes=$3 most=$4
    shift 4
    [ -f "$out/$name.sqz" ] || squeezekit compress "$out/$run" --resume --max-bytes "$bytes" --epochs "${rounds:-$most}" \
        -o "$out/$name.sqz" "$@"
}

# student NETWORK NAME EPOCHS BYTES EPOCHS_OF_ROUNDS [SHIFT]: a network that learns the answers of `fast`, and its file. Rounds
# shift images as training does, or by up to SHIFT of their side.
student() {
    train "$1" "$3" --teacher "$out/fast" --shift-step 2
    [ $# -lt 6 ] || sed -i "s/^shift = .*/shift = $6/" "$out/$1/config.toml"
    squeeze "$1" "$2" "$4" "$5" --teacher "$out/fast"
}

[ -f "$out/digits/summary.json" ] || squeezekit train --data digits --out "$out/digits" --resume --network nano --base-e 32 \
    --incr-e 16 --stem-width 32 --epochs "${epochs:-60}" --no-test
squeeze digits digits-nano 8192 40
train fast 25
# With --teacher its answers are stored, here its own.
squeeze fast cifar10-small 110000 5 --teacher "$out/fast"
student fire-pico cifar10-pico 60 6000 16
student fire-nano cifar10-nano 60 16000 40 0.125
student fire-tiny cifar10-tiny 60 40000 16 0.125
ls -l "$out"/*.sqz
