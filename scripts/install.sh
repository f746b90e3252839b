#!/bin/sh
# Make the virtual environment $1 with the ugts program and what its tests need.
# Without an NVIDIA GPU the CPU build of torch is taken where the package index has it: gigabytes less.
set -eu
venv=$1
python=${PYTHON:-python3}
cpu_torch="torch==2.13.0+cpu"

if ! "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))'; then
    echo "install: $("$python" --version) found, Python 3.11 or 3.12 is needed; for instance: make PYTHON=python3.12" >&2
    exit 2
fi
test -x "$venv/bin/python" || "$python" -m venv "$venv"
if ! "$venv/bin/python" -c 'import torch' 2>/dev/null; then
    if command -v nvidia-smi >/dev/null 2>&1 || ! "$venv/bin/pip" install --quiet "$cpu_torch" 2>/dev/null; then
        echo "install: taking the index's default build of torch"
        "$venv/bin/pip" install --quiet "torch>=2.9"
    fi
fi
"$venv/bin/pip" install --quiet --editable ".[dev]"
