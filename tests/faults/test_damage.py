"""Damaged files are named, and refused or skipped; nothing else happens."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from tests.faults.damage import examined
from tests.faults.kills import Reference
from tests.faults.launch import launch, train_arguments
from tests.faults.observe import kill, outcome, until
from ugts_dist.checkpointing import checkpoint


@pytest.mark.parametrize("numbers", [range(200), pytest.param(range(200, 2000), marks=pytest.mark.slow)], ids=str)
def test_damaged_files_are_refused(tmp_path: Path, one_thread_each: None, numbers: range) -> None:
    cases = list(examined(list(numbers), tmp_path))
    assert len(cases) == len(numbers)
    failed = [ascii(f"{case.number}: {case.what}: {case.problem}") for case in cases if case.problem]
    assert not failed, "\n".join(failed)


def test_damaged_checkpoints_are_passed_over(tmp_path: Path, alone: Reference) -> None:
    """The newest two are damaged in different ways; the run resumes from the one before."""
    arguments = train_arguments(tmp_path / "run", checkpoint__keep_last="4")
    one = launch(arguments, tmp_path)
    assert until(lambda: "step-00000030" in names(tmp_path / "run"))
    kill(one.rank(0), signal.SIGKILL)
    one.wait()
    *_, third, second, last = checkpoint.folders(tmp_path / "run")
    (last / "state.json").write_bytes((last / "state.json").read_bytes()[:-1])
    scores = bytearray((second / "scores.safetensors").read_bytes())
    scores[-1] ^= 1
    (second / "scores.safetensors").write_bytes(scores)
    kept = shutil.copytree(second, tmp_path / "kept")

    again = launch(arguments, tmp_path)
    assert again.wait() == 0
    told = again.told()
    assert f"ugts: {last}/state.json: damaged (ValueError: its checksum is wrong); this checkpoint is skipped" in told
    assert f"ugts: {second}/scores.safetensors: not a part of a checkpoint, or damaged (its checksum is wrong)" in told
    assert f"from {third}" in told
    assert (kept / "scores.safetensors").read_bytes() == scores
    assert outcome(tmp_path / "run").differs(alone.outcome) == []


def names(folder: Path) -> list[str]:
    return [path.name for path in checkpoint.folders(folder)]
