"""How the program is installed and started on clusters, and how a search is stopped there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.cluster.stubs import CLUSTER, job
from tests.installing import environment
from tests.trials.case import case
from tests.tuning.helpers import SMALL, space
from tuning.plan import list_trials


def submitted(folder: Path, *arguments: str, **settings: str) -> str:
    """What the batch script for a run says, and what it starts."""
    dry = job(folder / "checkout")
    process = dry.start("slurm-torchrun.sbatch", *arguments, **settings)
    told, _ = process.communicate(timeout=60.0)
    return f"exit {process.returncode}: {told} started: {dry.calls('srun')}"


@case(r"exit 2: slurm-torchrun: no run folder; say --run\.folder FOLDER.* started: \[\]")
def a_batch_run_without_a_folder(folder: Path) -> str:
    """A run is submitted without a folder: it would begin again whenever it is queued again"""
    return submitted(folder, "--preset", "products-sage")


@case(r"exit 2: slurm-torchrun: --run\.folder is runs/mine; in a container it must be a whole path.* started: \[\]")
def a_container_with_a_relative_folder(folder: Path) -> str:
    """A run in a container, whose folder would be lost with the container"""
    return submitted(folder, "--run.folder", "runs/mine", UGTS_IMAGE="ugts.sqsh")


@case(r"exit 0: .*--container-image=ugts\.sqsh .*--container-mounts=\S+:/shared .*ugts-launch")
def a_batch_run_in_a_container(folder: Path) -> str:
    """A run in a container, by Pyxis"""
    return submitted(folder, "--run.folder", "/shared/mine", UGTS_IMAGE="ugts.sqsh", UGTS_MOUNTS="/shared:/shared")


@case(r"exit 0: .* the build for cuda is there")
def cuda_on_a_login_node(folder: Path) -> str:
    """Torch for GPUs is installed where there is no GPU, over the CPU's build"""
    made = environment(folder, installed="cpu", index="cuda cpu")
    done = made.install(TORCH="cuda")
    return f"exit {done.returncode}: {done.stdout}{done.stderr} the build for {made.torch} is there"


@case(r"exit 0: .*no NVIDIA GPU here, so the CPU build .*make install TORCH=cuda")
def no_gpu_here(folder: Path) -> str:
    """Torch is installed where there is no GPU, and nothing is said about the build"""
    done = environment(folder, installed="", index="cuda cpu").install()
    return f"exit {done.returncode}: {done.stdout}{done.stderr}"


@case(r"^exit 2: install: TORCH is 'gpu', allowed are auto, cpu and cuda$")
def an_unknown_build(folder: Path) -> str:
    """A build of torch that there is not"""
    done = environment(folder, installed="", index="cpu").install(TORCH="gpu")
    return f"exit {done.returncode}: {done.stderr}"


@case(r"^exit 2: install: Python 3\.10\.1 found, Python 3\.11 to 3\.14 is needed")
def an_old_python(folder: Path) -> str:
    """An older Python"""
    python = folder / "python"
    python.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.10.1"\nexit 1\n')
    python.chmod(0o755)
    done = environment(folder, installed="", index="cpu").install(PYTHON=str(python))
    return f"exit {done.returncode}: {done.stderr}"


GROUP = """
import os, signal, subprocess
from tuning.interrupt import Interrupt, held
from ugts_dist.distributed.processes import apart
from ugts_dist.errors import StoppedError
with held():
    with apart():
        ray = subprocess.Popen(["sleep", "60"])
    os.killpg(os.getpgrp(), signal.SIGTERM)
    try:
        with Interrupt("ugts tune --resume mine").listening() as interrupt:
            interrupt.look()
    except StoppedError as error:
        print(error, "- what was started", "lives" if ray.poll() is None else "died")
ray.kill()
"""


@case(r"^exit 0: stopped by SIGTERM; to resume: ugts tune --resume mine - what was started lives$")
def a_signal_to_the_group(folder: Path) -> str:
    """SIGTERM to the whole process group of a search, as `timeout` sends it, while Ray starts"""
    command = [sys.executable, "-c", GROUP]
    done = subprocess.run(command, cwd=CLUSTER.parent, capture_output=True, text=True, start_new_session=True)
    return f"exit {done.returncode}: {done.stdout}{done.stderr}"


@case(r"^COPY --chown=1000:100 \. /opt/ugts_dist RUN pip install \S+ /opt/ugts_dist USER 1000:100$")
def the_image(folder: Path) -> str:
    """The image for Kubernetes is built and run by the user of Ray's image"""
    lines = (CLUSTER / "Dockerfile").read_text().splitlines()
    return " ".join(line for line in lines if not line.startswith(("#", "FROM")))


@case(r"^/\S*/data$")
def raw_files_in_a_relative_folder(folder: Path) -> str:
    """A search with a relative data.root: its workers have another working directory"""
    searched = space(SMALL.replace("[fields]", '[fields]\n"data.root" = "data"'))
    return list_trials(searched)[0].run_config(folder).data.root
