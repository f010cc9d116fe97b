#!/usr/bin/env bash
# Trains and scores on the machine with the GPU: run_on_gpu.sh FOLDER SECONDS [option of ranker.train ..]
#
# FOLDER holds train.npz.xz and base.safetensors, and may hold eval_windows.npz. What comes back lies under $OUT: the
# weights in pieces below 16 MiB, the log, the scores. SECONDS is all the time there is, the start of Python included.
set -euo pipefail
deadline=$(($(date +%s) + ${2:?seconds}))
folder=$(realpath "${1:?folder}")
shift 2
cd "$(dirname "$(realpath "$0")")/.."
windows=()
if [[ -f $folder/eval_windows.npz ]]; then
    windows=(--windows "$folder/eval_windows.npz")
fi
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
exec python3 -m ranker.train --data "$folder/train.npz.xz" --weights "$folder/base.safetensors" \
    --out "${OUT:?folder for the results}" --deadline "$deadline" "${windows[@]}" "$@"
