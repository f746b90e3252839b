"""A run that is killed at any moment and restarted ends with the same bits as an uninterrupted one.

Some moments, to be sure that each is tried; `python -m tests.faults.kills` tries hundreds at random.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.faults.kills import Plan, Reference, trial
from tests.faults.launch import launch, train_arguments
from tests.faults.observe import BOUND, kill, marked, outcome, until

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "plans",
    [
        [Plan("launcher", "start-up", 0, 0.3, True), Plan("rank 0", "write", 3, 0.2, False)],
        pytest.param(
            [Plan("rank 1", "evaluation", 4, 0.5, True), Plan("rank 0", "write", 4, 0.5, True)], marks=pytest.mark.slow
        ),
        pytest.param(
            [Plan("launcher", "evaluation", 6, 0.3, True), Plan("rank 0", "end", 0, 0.3, False)], marks=pytest.mark.slow
        ),
    ],
    ids=lambda plans: " then ".join(map(str, plans)),
)
def test_killed_at_some_moments(plans: list[Plan], tmp_path: Path, alone: Reference) -> None:
    done = trial(0, tmp_path, alone, plans)
    assert not done.problems, "\n".join(done.problems)
    assert "had ended" not in done.killed


def test_killed_before_its_first_checkpoint_a_run_begins_again(tmp_path: Path, alone: Reference) -> None:
    """Its metrics are not repeated, and files that were being written are gone."""
    without = train_arguments(tmp_path / "run", checkpoint__every_steps="0", checkpoint__at_best="False")
    one = launch(without, tmp_path)
    assert until(lambda: _lines(tmp_path / "run/metrics.jsonl") >= 3)
    assert kill(one.rank(0), signal.SIGKILL)
    one.wait()
    for name in (".best.ticket.17", ".config.toml.17", ".metrics.jsonl.18", ".result.json.4711", ".launch.json.9"):
        (tmp_path / "run" / name).write_text("half")
    again = launch(without, tmp_path)
    assert again.wait() == 0, again.told()
    assert outcome(tmp_path / "run").differs(alone.outcome) == []


def test_interrupted_on_the_terminal_the_ranks_save_and_tell_how_to_go_on(tmp_path: Path, alone: Reference) -> None:
    """A terminal sends Ctrl-C to the launcher and to every rank."""
    for attempt in range(5):
        folder = tmp_path / f"run-{attempt}"
        arguments = train_arguments(folder, checkpoint__every_steps="0", checkpoint__at_best="False")
        one = launch(arguments, tmp_path)
        assert until(partial(_has_lines, folder / "metrics.jsonl", 3))
        os.killpg(one.pid, signal.SIGINT)
        one.wait()
        if not (folder / "result.json").exists():
            break  # otherwise this process was so late that the run had ended
    assert f"ugts: stopped by SIGINT; to resume: ugts train {folder}" in one.told()
    assert [path.name for path in (folder / "checkpoints").iterdir()]
    again = launch(arguments, tmp_path)
    assert again.wait() == 0, again.told()
    assert "resumes at epoch" in again.told()
    assert outcome(folder).differs(alone.outcome) == []


@pytest.mark.slow
def test_torchrun_killed_with_its_ranks(tmp_path: Path, alone: Reference) -> None:
    """The command line itself: it is killed in the middle, then it resumes to the end."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "ugts_dist"]
    mark = f"UGTS_TEST={tmp_path}"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "UGTS_TEST": str(tmp_path), "TMPDIR": str(tmp_path)}
    command += train_arguments(tmp_path / "run")
    with open(tmp_path / "log", "wb") as log:
        one = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
        try:
            assert until(lambda: _lines(tmp_path / "run/metrics.jsonl") >= 5), (tmp_path / "log").read_text()
            one.kill()
            one.wait()
            assert until(lambda: not marked(mark)), "its ranks do not end"
        finally:
            for pid in marked(mark):
                kill(pid, signal.SIGKILL)
    assert "stopped by SIGTERM; to resume: ugts train" in (tmp_path / "log").read_text()
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=BOUND)
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path / 'run'} resumes at epoch " in done.stderr
    assert outcome(tmp_path / "run").differs(alone.outcome) == []


def _has_lines(path: Path, count: int) -> bool:
    return _lines(path) >= count


def _lines(path: Path) -> int:
    try:
        return path.read_text().count("\n")
    except OSError:
        return 0
