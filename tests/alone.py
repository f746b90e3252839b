"""Tests in a process of their own: those that set how Triton is imported, once for all in a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

needs_triton = pytest.mark.skipif(sys.platform != "linux", reason="Triton is for Linux")


def run_alone(path: Path, environment: dict[str, str], which: str = "") -> None:
    """Run the tests of a file, whose name pytest does not look for.

    Args:
        path: the file.
        environment: variables that are set, too.
        which: markers of the tests that are run, as for pytest's `-m`.
    """
    without = ("TRITON_", "PYTEST_")  # another pytest must not think that it is a worker of this one
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(without)}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-W",
        "ignore:AnnAssign:DeprecationWarning",  # Triton 3.8 makes such nodes; from Python 3.13 on that is deprecated
        "-m",
        which,
        str(path),
    ]
    done = subprocess.run(command, env=inherited | environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
