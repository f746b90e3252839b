"""Stubs of a batch system's programs, which only record their calls, for dry runs."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

CLUSTER = Path(__file__).parent.parent.parent / "cluster"

_RECORD = 'echo "$(basename "$0") $*" >>"$CALLS"\n'

# What a stub does after it has recorded its call. $NOTES is a folder of the test.
STUBS = {
    "srun": 'while [[ $1 == --* ]]; do shift; done\nexec "$@"\n',
    "scontrol": '[[ $1 == show ]] && printf "n1\\nn2\\n"\nexit 0\n',
    "scancel": 'touch "$NOTES/signalled"\n',
    "ray": 'while [[ $1 != -- ]]; do shift; done\nshift\nexec "$@"\n',
    "ugts": "",
    "ugts-launch": "",
    "ip": 'echo "2: eth0 inet 10.0.0.1/24 brd 10.0.0.255 scope global dev eth0"\n',
    "stage-store.sh": "",
}


@dataclass(frozen=True)
class Job:
    """A dry run of a batch script in a checkout whose programs are stubs."""

    home: Path

    @property
    def notes(self) -> Path:
        return self.home / "notes"

    def start(self, script: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start the script as the batch system would."""
        slurm = {
            "SLURM_SUBMIT_DIR": str(self.home),
            "SLURM_JOB_ID": "4321",
            "SLURM_JOB_NODELIST": "n[1-2]",
            "SLURM_JOB_NUM_NODES": "2",
            "SLURM_CPUS_ON_NODE": "16",
            "SLURM_GPUS_ON_NODE": "8",
        }
        own = {"CALLS": str(self.home / "calls"), "NOTES": str(self.notes), "PATH": os.environ["PATH"]}
        return subprocess.Popen(
            ["bash", CLUSTER / script, *arguments],
            env=slurm | own | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, script: str, *arguments: str, **environment: str) -> int:
        process = self.start(script, *arguments, **environment)
        process.communicate(timeout=60.0)
        return process.returncode

    def calls(self, program: str) -> list[str]:
        """What a program was called with, in order."""
        file = self.home / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line.removeprefix(f"{program} ") for line in lines if line.split()[0] == program]


def job(home: Path, **stubs: str) -> Job:
    """A checkout with stubs; `ugts_launch="exit 3"` sets what that stub does."""
    programs, scripts = home / ".venv/bin", home / "cluster"
    programs.mkdir(parents=True)
    scripts.mkdir()
    (home / "notes").mkdir()
    for script in CLUSTER.glob("*.sh"):
        shutil.copy(script, scripts)
    for name, body in (STUBS | {name.replace("_", "-"): body for name, body in stubs.items()}).items():
        file = (scripts if name.endswith(".sh") else programs) / name
        file.write_text(f"#!/usr/bin/env bash\n{_RECORD}{body}")
        file.chmod(0o755)
    return Job(home)
