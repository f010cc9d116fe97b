#!/usr/bin/env bash
# Trains without each source of data, and with the words before each window, all at once on a machine with GPUs:
#
#     ablate_on_gpu.sh FOLDER SECONDS [option of ranker.train ..]
#
# FOLDER holds train.npz.xz and base.safetensors, and may hold eval_windows.npz. All runs begin with the base and have
# the same time; runs share the GPUs, so each sees some tens of millions of tokens. What comes back lies under $OUT:
# ablation.tar with the log and the scores of each run, and the last recalls as ablation.txt. SECONDS is all the time
# there is. $PYTHON, $GPUS, $RUNS and $LEFT_TOKENS replace python3, the GPUs found, all runs, and 32.
set -uo pipefail
folder=$(realpath "${1:?folder}")
deadline=$(($(date +%s) + ${2:?seconds}))
shift 2
cd "$(dirname "$(realpath "$0")")/.."
python=${PYTHON:-python3}
gpus=${GPUS:-$(nvidia-smi -L | wc -l)}
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
sources=(cuad cuad_headings qmsum qmsum_topics medquad evidence_inference pmc_sections fairytale tables)
read -ra runs <<<"${RUNS:-all seed left contracts meetings ${sources[*]}}"
windows=()
[[ -f $folder/eval_windows.npz ]] && windows=(--windows "$folder/eval_windows.npz")

# options_of NAME: what sets a run apart; a source's name leaves that source out, as `contracts` and `meetings` do two
options_of() {
    case $1 in
    all) echo ;;
    seed) echo --seed 2 ;;
    left) echo --left "${LEFT_TOKENS:-32}" ;;
    contracts) echo --without cuad --without cuad_headings ;;
    meetings) echo --without qmsum --without qmsum_topics ;;
    *) echo --without "$1" ;;
    esac
}

number=0
for name in "${runs[@]}"; do
    mkdir -p "$folder/ablation/$name"
    read -ra options <<<"$(options_of "$name")"
    CUDA_VISIBLE_DEVICES=$((number % (gpus > 0 ? gpus : 1))) $python -m ranker.train --data "$folder/train.npz.xz" \
        --weights "$folder/base.safetensors" --out "$folder/ablation/$name" --deadline $((deadline - 6)) \
        "${windows[@]}" "${options[@]}" "$@" >"$folder/ablation/$name/output" 2>&1 &
    number=$((number + 1))
done
wait
for name in "${runs[@]}"; do
    log=$folder/ablation/$name/train.log
    echo "$name $(grep -h '"done"' "$log" 2>/dev/null || tail -n 3 "$folder/ablation/$name/output")"
done | tee "$OUT/ablation.txt"
tar -C "$folder/ablation" --exclude='weights.*' --exclude=held_scores.npz -cf "$OUT/ablation.tar" "${runs[@]}"
