"""The launcher's exit code, with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ugts_dist.checkpointing import checkpoint

ROOT = Path(__file__).parent.parent


def launch(folder: Path, epochs: int) -> subprocess.Popen[str]:
    run = ["train", "--preset", "digits", "--run.epochs", str(epochs), "--run.folder", "run", "--model.width", "16"]
    quiet = ["--log.no-progress", "--log.to"]
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "ugts_dist.distributed.launch",
            "--standalone",
            "--nproc_per_node=2",
            "-m",
            "ugts_dist",
            *run,
            *quiet,
        ],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def has_content(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


@pytest.mark.parametrize("number", [signal.SIGUSR1])
def test_a_signal_to_the_launcher_saves_the_run_and_asks_to_be_started_again(
    tmp_path: Path, number: signal.Signals
) -> None:
    launcher = launch(tmp_path, epochs=100_000)
    deadline = time.monotonic() + 120.0
    # Not before its first line: the file is opened before the ranks listen to signals.
    while not has_content(tmp_path / "run/metrics.jsonl") and time.monotonic() < deadline:
        time.sleep(0.1)
    launcher.send_signal(number)
    _, shown = launcher.communicate(timeout=60.0)
    assert launcher.returncode == 75, shown
    assert f"stopped by {number.name}; to resume: ugts train run" in shown
    assert checkpoint.newest(tmp_path / "run")[0] is not None


def test_a_mistake_is_no_reason_to_start_again(tmp_path: Path) -> None:
    launcher = launch(tmp_path, epochs=0)
    _, shown = launcher.communicate(timeout=120.0)
    assert launcher.returncode == 1
    assert "run.epochs is 0, allowed is 1 to " in shown
