#!/bin/sh
# Make the virtual environment $1 with the ugts program and what its tests need.
# $TORCH: which build of torch. auto: the one that is there; else, without an NVIDIA GPU, the CPU build where the package
# index has it, which is gigabytes less. cuda: also where there is no GPU, as on the login node of a cluster.
set -eu
venv=$1
python=${PYTHON:-python3}
torch=${TORCH:-auto}
any_torch="torch>=2.9"
cpu_torch="torch==2.13.0+cpu"

fail() {
    echo "install: $*" >&2
    exit 2
}

build() { # of torch in the environment: cpu, cuda or none
    "$venv/bin/python" -c 'import torch; print("cuda" if torch.version.cuda else "cpu")' 2>/dev/null || echo none
}

default_build() {
    echo "install: taking the index's default build of torch"
    "$venv/bin/pip" install --quiet "$any_torch"
}

auto_build() {
    if command -v nvidia-smi >/dev/null 2>&1 || ! "$venv/bin/pip" install --quiet "$cpu_torch" 2>/dev/null; then
        default_build
    else
        echo "install: no NVIDIA GPU here, so the CPU build of torch was taken; for jobs with GPUs: make install TORCH=cuda"
    fi
}

cuda_build() {
    "$venv/bin/pip" uninstall --quiet --yes torch # or pip would be content with it
    default_build
    [ "$(build)" = cuda ] || fail "TORCH is cuda, but the index's default build of torch has no CUDA; point pip at another"
}

case $torch in
    auto | cpu | cuda) ;;
    *) fail "TORCH is '$torch', allowed are auto, cpu and cuda" ;;
esac
if ! "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))'; then
    fail "$("$python" --version) found, Python 3.11 to 3.14 is needed; for instance: make PYTHON=python3.12"
fi
test -x "$venv/bin/python" || "$python" -m venv "$venv"
case $torch-$(build) in
    auto-none) auto_build ;;
    cpu-none | cpu-cuda)
        "$venv/bin/pip" install --quiet "$cpu_torch" || fail "TORCH is cpu, but the package index has no $cpu_torch"
        ;;
    cuda-none | cuda-cpu) cuda_build ;;
esac
"$venv/bin/pip" install --quiet --editable ".[dev]"
