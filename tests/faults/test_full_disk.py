"""A full disk: saved files stay intact, failed writes are reported, and the run continues once there is space.

The disk is a small one in memory; only root can mount it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.kills import Reference
from tests.faults.launch import Launch, launch, launch_alone, train_arguments
from tests.faults.observe import left_over, outcome, until
from ugts_dist.checkpointing import checkpoint

FULL = "No space left on device"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Of four megabytes."""
    path = tmp_path / "disk"
    path.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk takes the rights of root")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(path)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small disk can't be mounted here: {done.stderr.strip()}")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(disk: Path) -> None:
    """Take all free space."""
    with open(disk / "ballast", "wb", buffering=0) as file:
        for size in (2**16, 2**12):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def lines(one: Launch) -> list[str]:
    """What the program printed; no process has reported an error in another way."""
    told = one.told().splitlines()
    assert not [line for line in told if line.startswith("Traceback")], one.told()
    return [line for line in told if line.startswith("ugts: ")]


def steps(folder: Path) -> list[str]:
    return [path.name for path in checkpoint.folders(folder)]


def test_a_disk_that_is_full_for_a_while(disk: Path, tmp_path: Path, alone: Reference) -> None:
    """While the disk is full, checkpoints can't be written, and a line says so; later they are written again."""
    folder = disk / "run"
    one = launch(train_arguments(folder), tmp_path)
    assert until(lambda: "step-00000010" in steps(folder))
    fill(disk)
    assert until(lambda: FULL in one.told())
    (disk / "ballast").unlink()
    assert one.wait() == 0, one.told()
    assert f"could not be written ({FULL}); the run goes on" in lines(one)[0]
    assert outcome(folder).differs(alone.outcome) == []


def test_a_disk_that_stays_full(disk: Path, tmp_path: Path, alone: Reference) -> None:
    """The run ends with one line that names the file, and resumes from its last checkpoint."""
    folder = disk / "run"
    one = launch(train_arguments(folder), tmp_path)
    assert until(lambda: "step-00000010" in steps(folder))
    fill(disk)
    assert one.wait() == 1
    assert f"could not be written ({FULL}); the run goes on" in lines(one)[0]
    assert f"ugts: {folder}/best.ticket: {FULL}" in lines(one)
    newest, problems = checkpoint.newest(folder)
    assert newest is not None
    assert problems == []
    assert left_over(folder) == []

    again = launch(train_arguments(folder), tmp_path)
    assert again.wait() == 1
    assert [line for line in lines(again) if line.startswith(f"ugts: {folder}/") and line.endswith(f": {FULL}")]
    (disk / "ballast").unlink()
    third = launch(train_arguments(folder), tmp_path)
    assert third.wait() == 0, third.told()
    assert outcome(folder).differs(alone.outcome) == []


@pytest.mark.slow
def test_a_disk_that_is_full_when_metrics_are_written(disk: Path, tmp_path: Path) -> None:
    """A line is cut off; the epochs do not fit into the blocks that the file already has."""
    arguments = {"run__epochs": "50", "model__width": "8"}
    undisturbed = launch_alone(train_arguments(tmp_path / "alone", **arguments), tmp_path)
    one = launch_alone(train_arguments(disk / "run", **arguments), tmp_path)
    metrics = disk / "run/metrics.jsonl"
    assert until(lambda: metrics.exists() and metrics.stat().st_size > 500)
    fill(disk)
    assert one.wait() == 1
    assert lines(one)[-1] == f"ugts: {metrics}: {FULL}"
    assert not metrics.read_bytes().endswith(b"\n")

    # A read-only disk also gives one line.
    remount(disk, "ro")
    refused = launch_alone(train_arguments(disk / "run", **arguments), tmp_path)
    assert refused.wait() == 2
    assert lines(refused) == [f"ugts: run.folder is {disk / 'run'}, which can't be written (Read-only file system)"]

    remount(disk, "rw")
    (disk / "ballast").unlink()
    again = launch_alone(train_arguments(disk / "run", **arguments), tmp_path)
    assert again.wait() == 0, again.told()
    assert undisturbed.wait() == 0
    assert outcome(disk / "run").differs(outcome(tmp_path / "alone")) == []
    epochs = [json.loads(line)["epoch"] for line in metrics.read_text().splitlines()]
    assert epochs == list(range(50))


def test_a_disk_that_is_full_from_the_start(disk: Path, tmp_path: Path) -> None:
    """It only prints a line; the same command works later."""
    fill(disk)
    arguments = train_arguments(disk / "run", run__epochs="2")
    one = launch_alone(arguments, tmp_path)
    assert one.wait() == 1
    (line,) = lines(one)
    assert line.startswith(f"ugts: {disk}/run")
    assert line.endswith(FULL)
    (disk / "ballast").unlink()
    again = launch_alone(arguments, tmp_path)
    assert again.wait() == 0, again.told()
    shutil.rmtree(disk / "run")


def remount(disk: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", str(disk)], check=True)
