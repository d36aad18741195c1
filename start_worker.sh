#!/bin/sh
# Start one worker, pinned to one GPU (or to the CPU):  ./start_worker.sh NAME [GPU]
# NAME is what the dashboard shows; GPU is a number as `nvidia-smi` counts, left out for the CPU.
set -eu

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: $0 NAME [GPU]" >&2
    exit 2
fi

here=$(cd "$(dirname "$0")" && pwd)
python=$here/.venv/bin/python
if [ ! -x "$python" ]; then
    python=$(command -v python3) || { echo "No Python found: run 'make setup' first." >&2; exit 2; }
fi

if [ $# -eq 2 ]; then
    # Before Python starts: the worker then sees this one device only, as cuda:0.
    export CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES="$2"
    device=cuda:0
else
    export CUDA_VISIBLE_DEVICES=
    device=cpu
fi

cd "$here"
exec "$python" cli.py worker --name "$1" --device "$device"
