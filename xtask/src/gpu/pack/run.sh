#!/bin/sh
# Runs liquid-bench in its own folder, whose data it reads, with CUDA's headers where burn looks for them.
set -e
cd "$(dirname "$0")"
if [ -z "$CUDA_PATH" ] && [ ! -d /usr/local/cuda ]; then
    for folder in /usr/local/cuda-13* /opt/cuda; do
        if [ -d "$folder/include" ]; then
            export CUDA_PATH="$folder"
        fi
    done
fi
exec ./liquid-bench "$@"
