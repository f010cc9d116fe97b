#!/usr/bin/env bash
# Trains the teachers, then the students, on a machine with one or two GPUs:
#
#     distil_on_gpu.sh teachers FOLDER SECONDS             # FOLDER/teacher.bge, FOLDER/teacher.e5
#     distil_on_gpu.sh students FOLDER SECONDS [bge] [e5]  # taught by these; FOLDER/student.a, FOLDER/student.b
#
# FOLDER holds train.npz.xz, eval_windows.npz, the 12-layer bases bge.safetensors and e5.safetensors, and the students'
# start, start.safetensors; all results stay there. What comes back lies under $OUT: results.tar (logs, scores), and
# weights in pieces below 16 MiB: of the first teacher in int8, or of the best of the students and their mean in f16.
# SECONDS is all the time there is. $PYTHON, $GPUS and $OPTIONS replace python3, the GPUs found and no further options.
set -uo pipefail
stage=${1:?teachers or students}
folder=$(realpath "${2:?folder}")
deadline=$(($(date +%s) + ${3:?seconds}))
shift 3
cd "$(dirname "$(realpath "$0")")/.."
python=${PYTHON:-python3}
gpus=${GPUS:-$(nvidia-smi -L | wc -l)}
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=${OMP_NUM_THREADS:-8}

# run NAME GPU DEADLINE [option ..]; a run that fails early, for want of memory say, starts again with half the batch
run() {
    local name=$1 gpu=$2 until=$3 batch
    shift 3
    rm -rf "${folder:?}/$name"
    mkdir -p "$folder/$name"
    for batch in 131072 65536; do
        # shellcheck disable=SC2086 # OPTIONS is a list
        CUDA_VISIBLE_DEVICES=$gpu $python -m ranker.train --data "$folder/train.npz.xz" --out "$folder/$name" \
            --windows "$folder/eval_windows.npz" --deadline "$until" --batch "$batch" "$@" ${OPTIONS:-} \
            >"$folder/$name/output.$batch" 2>&1 && return
        echo "$name failed with a batch of $batch: $(tail -n 5 "$folder/$name/output.$batch")"
        (($(date +%s) < until - ${LEAST_SECONDS:-150})) || return
    done
}

# both SECONDS-TO-LEAVE FIRST SECOND, whose options are in the arrays first and second
both() {
    local until=$((deadline - $1)) now
    if ((gpus > 1)); then
        run "$2" 0 "$until" "${first[@]}" &
        run "$3" 1 "$until" "${second[@]}" &
        wait
    else
        now=$(date +%s)
        run "$2" 0 $(((now + until) / 2)) "${first[@]}"
        run "$3" 0 "$until" "${second[@]}"
    fi
    grep -hE 'train"|validated|done' "$folder/$2/train.log" | tail -n 12 | cut -c -330
    grep -hE 'train"|validated|done' "$folder/$3/train.log" | tail -n 12 | cut -c -330
}

case $stage in
teachers)
    first=(--weights "$folder/bge.safetensors" --seed 2 --rate 1.2e-4)
    second=(--weights "$folder/e5.safetensors" --seed 3 --rate 1.2e-4)
    both 12 teacher.bge teacher.e5
    $python -c 'import sys, pathlib; from ranker import weights
weights.write_packed(weights.read(pathlib.Path(sys.argv[1])), pathlib.Path(sys.argv[2]))' \
        "$folder/teacher.bge/weights.f16.safetensors" "$folder/teacher.bge.safetensors"
    split -b 15M -d -a 1 "$folder/teacher.bge.safetensors" "$OUT/teacher.bge.safetensors."
    tar -C "$folder" --exclude='weights.*' -cf "$OUT/results.tar" teacher.bge teacher.e5
    ;;
students)
    common=(--weights "$folder/start.safetensors")
    for name in "$@"; do
        common+=(--teacher "$folder/teacher.$name/weights.f16.safetensors" --others 4)
    done
    first=("${common[@]}" --seed 4 --distance-weight 0)
    second=("${common[@]}" --seed 5 --distance-weight 0.1)
    both 45 student.a student.b
    rm -rf "$folder/choice"
    students=()
    for name in student.a student.b; do
        [[ -f $folder/$name/weights.f16.safetensors.0 ]] && students+=(--weights "$folder/$name/weights.f16.safetensors")
    done
    # shellcheck disable=SC2086
    CUDA_VISIBLE_DEVICES=0 timeout $((deadline - $(date +%s) - 4)) $python -m ranker.choose "${students[@]}" \
        --data "$folder/train.npz.xz" --windows "$folder/eval_windows.npz" --out "$folder/choice" ${CHOICE_OPTIONS:-}
    best=$folder/choice
    [[ -f $best/choose.json ]] || best=$(dirname "${students[1]:-$folder/student.a/none}")
    cp "$best"/weights.f16.safetensors.[0-9] "$OUT/"
    mkdir -p "$folder/choice"
    tar -C "$folder" --exclude='weights.*' -cf "$OUT/results.tar" student.a student.b choice
    ;;
esac
