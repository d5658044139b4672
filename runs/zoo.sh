#!/usr/bin/env bash
# The networks in the box, from the images: a teacher, then each network with it, then each compressed to its size.
#
#   runs/zoo.sh IMAGES OUT [--epochs E] [--rounds R]
#
# IMAGES: a folder with train/<class>/… and test/<class>/…; OUT: where runs and files are kept. On a GPU where there is one,
# else on the CPU; docs/models/README.md says how long each takes. What is done is not done again, and what was stopped goes on
# with the same command. --epochs, --rounds: of each training and of each round of compression, to see that it runs.
set -euo pipefail
if [ $# -lt 2 ]; then
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
images=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
shift 2
epochs=60 rounds=8
while [ $# -gt 0 ]; do
    case $1 in
        --epochs) epochs=$2; shift 2 ;;
        --rounds) rounds=$2; shift 2 ;;
        *) echo "zoo.sh: unknown option $1" >&2; exit 2 ;;
    esac
done
python=${PYTHON:-python3}
long="--recipe modern --batch-size 512 --learning-rate 0.1 --cutout 0.25 --mirrored --no-test"

# train NAME FLAG…: a run in OUT/NAME; the test images are left to the compressed file.
train() {
    local name=$1
    shift
    [ -f "$out/$name/summary.json" ] || "$python" -m squeezekit train --data "$images" --out "$out/$name" --resume --epochs "$epochs" $long "$@"
}

# squeeze NAME BYTES FLAG…: OUT/cifar10-NAME.sqz of at most so many bytes, tested once.
squeeze() {
    local file=$out/cifar10-$1.sqz name=$1 bytes=$2
    shift 2
    [ -f "$file" ] || "$python" -m squeezekit compress "$out/$name" -o "$file" --resume --max-bytes "$bytes" --epochs "$rounds" "$@"
}

train teacher --network wide
for name in nano tiny small best; do
    train $name --network $name --teacher "$out/teacher" --temperature 2
done
squeeze nano 32768
squeeze tiny 98304
squeeze small 256000
squeeze best 512000
if [ ! -f "$out/digits-nano.sqz" ]; then
    "$python" -m squeezekit train --data digits --out "$out/digits" --resume --network nano --base-e 32 --incr-e 16 --stem-width 32 --epochs 60
    "$python" -m squeezekit compress "$out/digits" -o "$out/digits-nano.sqz" --resume --max-bytes 8192
fi
ls -l "$out"/*.sqz
