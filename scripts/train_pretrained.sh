#!/usr/bin/env bash
# The pretrained models, from the images: a wide network, three small ones that learn its outputs, all compressed.
#
#   scripts/train_pretrained.sh IMAGES OUT [--epochs E] [--rounds R] [--baselines] [--fused] [--beside]
#
# IMAGES: a folder with train/<class>/… and test/<class>/…; OUT: where runs and files are kept. On a GPU where there is one,
# else on the CPU; docs/results/models/README.md says how long that takes. What is done is not done again, and what was stopped
# goes on with the same command. --epochs E: of every training, --rounds R: of every round of compression, in place of the
# published numbers.
# --baselines: also the networks that the leaderboard compares with, trained, in eight bits, and compressed. On a GPU --fused
# trains faster after compiling, and --beside does at once what does not wait for another step, with a log of each in OUT.
set -euo pipefail
if [ $# -lt 2 ]; then
    sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
images=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
shift 2
epochs= rounds= baselines= beside= fused=() jobs=() names=()
while [ $# -gt 0 ]; do
    case $1 in
        --epochs) epochs=$2; shift 2 ;;
        --rounds) rounds=$2; shift 2 ;;
        --baselines) baselines=yes; shift ;;
        --fused) fused=(--fused); shift ;;
        --beside) beside=yes; shift ;;
        *) echo "train_pretrained.sh: unknown option $1" >&2; exit 2 ;;
    esac
done
# Several programs with a thread for every core each would wait for one another.
if [ -n "$beside" ]; then export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((($(nproc) + 5) / 6))}; fi
# What goes on beside ends with this script; it saves what it has done.
trap 'for job in ${jobs[@]+"${jobs[@]}"}; do kill -TERM -- "-$job" 2> /dev/null || :; done' EXIT
squeezekit() { "${PYTHON:-python3}" -m squeezekit "$@"; }

# step NAME COMMAND…: now, or with --beside together with those that follow.
step() {
    local name=$1
    shift
    if [ -n "$beside" ]; then
        # A process group of its own, to be ended as a whole.
        set -m
        "$@" >> "$out/$name.log" 2>&1 &
        set +m
        jobs+=($!) names+=("$name")
    else
        "$@"
    fi
}

# train NAME FLAG…: a run in OUT/NAME.
train() {
    local name=$1
    shift
    [ -f "$out/$name/summary.json" ] || squeezekit train --data "$images" --out "$out/$name" --resume --network "$name" \
        --recipe modern --batch-size 512 --learning-rate 0.1 --cutout 0.25 --epochs "${epochs:-40}" ${fused[@]+"${fused[@]}"} "$@"
}

# most NAME: the largest size of a pretrained model, in bytes.
most() {
    case $1 in
        digits-nano) echo 8192 ;;
        cifar10-nano) echo 32768 ;;
        cifar10-tiny) echo 98304 ;;
        cifar10-small) echo 256000 ;;
        cifar10-best) echo 512000 ;;
    esac
}

# squeeze RUN NAME FLAG…: OUT/NAME.sqz, which is also written where it is too large; that is said at the end.
squeeze() {
    local run=$1 name=$2 file=$out/$2.sqz
    shift 2
    [ -f "$file" ] || squeezekit compress "$out/$run" --resume --max-bytes "$(most "$name")" "$@" ${rounds:+--epochs "$rounds"} \
        -o "$file" || [ -f "$file" ]
}

# student NAME RATE_WEIGHT EPOCHS: a network that learns the answers of `wide`, and its file. The test images are left to that.
student() {
    train "$1" --mirrored --no-test --teacher "$out/wide" --temperature 2
    squeeze "$1" "cifar10-$1" --rate-weight "$2" --epochs "$3" --teacher "$out/wide"
}

digits() {
    [ -f "$out/digits/summary.json" ] || squeezekit train --data digits --out "$out/digits" --resume --network nano \
        --base-e 32 --incr-e 16 --stem-width 32 --epochs "${epochs:-60}" --no-test
    squeeze digits digits-nano
}

# Networks to compare with, as they are, in eight bits, and compressed at half a point of accuracy.
compare() {
    local name own
    for name in resnet8 resnet20 mobilenetv2_050 xvel-tiniest; do
        # Without batch normalization Muon has nothing to do; this is what xvel-tiniest was published with.
        own=()
        if [ $name = xvel-tiniest ]; then own=(--batch-size 128 --optimizer adamw --learning-rate 0.02); fi
        train $name ${own[@]+"${own[@]}"}
        [ -f "$out/$name-int8.onnx" ] || squeezekit export "$out/$name" --format onnx --int8 --data "$images" -o "$out/$name-int8.onnx"
        [ -f "$out/$name.sqz" ] || squeezekit compress "$out/$name" --resume ${rounds:+--epochs "$rounds"} -o "$out/$name.sqz" ||
            [ -f "$out/$name.sqz" ] # Written also where nothing meets the target.
    done
}

if [ -n "$baselines" ]; then step baselines compare; fi
step digits digits
train wide --mirrored --no-test --cutout 0.375
# Rate weights at which files of about that size were made.
step nano student nano 0.062 9
step tiny student tiny 0.028 10
step small student small 0.013 8
step best squeeze wide cifar10-best --rate-weight 0.0086 --epochs 12
failed=
for i in ${jobs[@]+"${!jobs[@]}"}; do
    wait "${jobs[$i]}" || { echo "train_pretrained.sh: ${names[$i]} failed; $out/${names[$i]}.log says why" >&2; failed=yes; }
done
jobs=()
for name in digits-nano cifar10-nano cifar10-tiny cifar10-small cifar10-best; do
    file=$out/$name.sqz
    if [ -f "$file" ] && [ "$(wc -c < "$file")" -gt "$(most $name)" ]; then
        echo "train_pretrained.sh: $file has more than $(most $name) bytes; delete it, and give it a larger rate weight in this script" >&2
        failed=yes
    fi
done
ls -l "$out"/*.sqz
[ -z "$failed" ]
