#!/usr/bin/env bash
# The primary part of the second study on one GPU, in calls of limited length.
#
#     DATA=/data OUT=/results bash benchmarks/gpu_study.sh          # repeat until it exits with 0
#     OUT=/tmp/smoke bash benchmarks/gpu_study.sh --smoke           # the same steps on a CPU, in minutes
#
# A call stops after LIMIT_S seconds, stores its state and exits with 75; the next one goes on there.
# DATA holds cifar-10-batches-py, or the Parquet files of the public hub. WORKERS models share the card.
# Steps: the tuning of gpu_tuning.toml; the picked suite, ten seeds of the arms that decide and three of
# the others; the figures of BENCHMARK.md that need a GPU.
set -uo pipefail
cd "$(dirname "$0")/.."

OUT=${OUT:?name a folder for the results, OUT=/results}
LIMIT_S=${LIMIT_S:-520}
WORKERS=${WORKERS:-4}
DEVICE=cuda
TUNING=benchmarks/gpu_tuning.toml
STUDY=(--set recipe.epochs=60 --limit 512 --methods "grad_cam,grad_cam_plus_plus,rise(num_masks=200),random_map")
PRIMARY=baseline,lico,lico_random_text,lico_shuffled_names
ALL=baseline,lico,lico_as_published,lico_mm,lico_random_text,lico_shuffled_names,lico_authors_code
SEEDS=(10 3)
STEP=()
mkdir -p "$OUT"

if [ "${1:-}" = "--smoke" ]; then
    DEVICE=cpu
    WORKERS=2
    SEEDS=(3 1)
    STUDY=(--set recipe.epochs=1 --limit 4)
    STEP=(--rounds 2 --batch 8 --backbone wrn_10_1)
    TUNING=$OUT/tuning.toml
    sed -e 's/"paper"/"smoke"/; s/"real"/"standin"/; s/^limit = .*/limit = 4/; s/wrn_28_2/wrn_10_1/' \
        -e 's/^epochs = .*/epochs = 1\ntrain_limit = 64\ntext_encoder = "random"/; s/^batch_size = .*/batch_size = 16/' \
        -e 's/bfloat16/float32/; s/^trials = .*/trials = 2/; s/^holdout = .*/holdout = 0.02/' \
        benchmarks/gpu_tuning.toml >"$TUNING"
fi
COMMON=(--device "$DEVICE" --workers "$WORKERS")
[ -n "${DATA:-}" ] && COMMON+=(--data-root "$DATA")

step() { # step NAME COMMAND...: run a step once, within what is left of the call
    local name=$1 left=$((LIMIT_S - SECONDS)) status=0
    shift
    [ -e "$OUT/$name.done" ] && return
    if [ "$left" -lt 30 ]; then
        echo "time is up before $name; call again"
        exit 75
    fi
    echo "== $name: $*"
    timeout --preserve-status --signal TERM --kill-after 20 "$left" "$@" || status=$?
    if [ "$status" = 75 ] || [ "$status" = 143 ]; then
        echo "time is up during $name; call again"
        exit 75
    fi
    # 1: a figure missed its limit, which is a result too.
    [ "$status" -le 1 ] || { echo "$name ended with exit code $status"; exit "$status"; }
    touch "$OUT/$name.done"
}


step doctor uv run lico-bench doctor
step tuning uv run lico-bench tune "$TUNING" "${COMMON[@]}" --out "$OUT/trials"
PICK=$OUT/trials/tuning/pick.toml
step primary uv run lico-bench run --suite "$PICK" --arms "$PRIMARY" --seeds "${SEEDS[0]}" "${STUDY[@]}" \
    "${COMMON[@]}" --out "$OUT/primary"
step arms uv run lico-bench run --suite "$PICK" --arms "$ALL" --seeds "${SEEDS[1]}" "${STUDY[@]}" \
    "${COMMON[@]}" --reuse "$OUT/primary" --out "$OUT/arms"
step training_step uv run python benchmarks/training_step.py --device "$DEVICE" "${STEP[@]}"
step curves uv run python benchmarks/perturbation.py --device "$DEVICE"
echo "all steps are done: $OUT"
