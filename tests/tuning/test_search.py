"""Real searches with Ray on this machine: after a kill at any moment they end as without it."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from tests.processes import spawn
from tests.tuning.helpers import SMALL, search_here, space
from tuning.manifest import space_of
from tuning.plan import Trial, list_trials
from ugts_dist.checkpointing import checkpoint
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.supermask import Ticket
from ugts_dist.training.run import run

# Each starts Ray, and a process that imports torch for every trial.
pytestmark = pytest.mark.xdist_group("ray")

PATIENCE = 240.0  # seconds until a test gives up; none of them measures time


@contextmanager
def tuning(storage: Path, *args: str) -> Iterator[subprocess.Popen[str]]:
    """`ugts tune` in its own process group, which ends with the block."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tuning", "--storage", ".", *args]
    with open(storage / "output.txt", "w", encoding="utf-8") as output:
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=storage,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def finish(storage: Path, *args: str) -> str:
    with tuning(storage, *args) as process:
        code = process.wait(PATIENCE)
    output = (storage / "output.txt").read_text(encoding="utf-8")
    assert code == 0, output
    return output


def wait_for(happened: Callable[[], Any], process: subprocess.Popen[str]) -> None:
    """Wait until a condition holds; the process must not end before."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert process.poll() is None, "the search ended too early"
        assert time.monotonic() < deadline
        time.sleep(0.005)


def run_rank(rank: int, world_size: int, config: Config, folder: str) -> float:
    """The run as torchrun starts it."""
    ranks = Ranks(rank, world_size, torch.device("cpu"), dist.group.WORLD)
    result, _ = run(config.replace({"run.folder": folder}), ranks)
    return result.valid


def results(folder: Path) -> dict[str, int]:
    """When each finished run wrote its result."""
    return {file.parent.name: file.stat().st_mtime_ns for file in folder.glob("runs/*/result.json")}


def test_a_search_that_was_killed_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    file = tmp_path / "small.toml"
    file.write_text(SMALL.replace("seeds = 2", "seeds = 1").replace("[0.01, 0.05]", "[0.05]"))
    folder = tmp_path / "small"
    with tuning(tmp_path, "--space", str(file), "--cpus", "1") as process:
        wait_for(lambda: len(results(folder)) >= 1, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = results(folder)
    (folder / "manifest.json").write_text("{")
    for state in folder.glob("ray/*/*.json"):  # Ray's own, cut off in the middle
        state.write_bytes(state.read_bytes()[:100])
    output = finish(tmp_path, "--resume", "small", "--cpus", "1")
    assert "trained dense" in output
    after = results(folder)
    assert {key: after[key] for key in before} == before
    answer, _, _ = search_here(space_of(folder), tmp_path / "undisturbed")
    assert json.loads((folder / "answer.json").read_text()) == json.loads(json.dumps(dataclasses.asdict(answer)))


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_search_that_is_asked_to_stop_tells_in_one_line_how_to_go_on(tmp_path: Path, number: signal.Signals) -> None:
    file = tmp_path / "small.toml"
    file.write_text(SMALL)
    with tuning(tmp_path, "--space", str(file), "--cpus", "1") as process:
        wait_for(lambda: len(results(tmp_path / "small")) >= 1, process)
        os.killpg(process.pid, number)  # as Ctrl-C and `timeout` do: the search must not lose Ray by it
        code = process.wait(PATIENCE)
    begun, *_, told = (tmp_path / "output.txt").read_text(encoding="utf-8").splitlines()
    assert told == f"ugts: stopped by {number.name}; to resume: ugts tune --storage . --resume small"
    assert code == 75
    ports = r"with token authentication; here it listens on 127\.0\.0\.1, ports \d+(, \d+)+"
    assert re.fullmatch(rf"ugts: Ray at 127\.0\.0\.1:\d+, 1 node\(s\), {ports}", begun)


@pytest.mark.slow
def test_a_trial_that_loses_a_worker_goes_on_from_its_scores(tmp_path: Path) -> None:
    every = 5
    text = (
        SMALL.replace("[0.5, 0.9]", "[0.9]").replace("[0.01, 0.05]", "[0.05]").replace('epochs" = 12', 'epochs" = 60')
    )
    text = text.replace('every_steps" = 2', f'every_steps" = {every}\n"checkpoint.at_best" = false')
    file = tmp_path / "two.toml"
    file.write_text(text.replace("seeds = 2", "seeds = 1\nworkers = 2\ndense = false"))
    searched = space(file.read_text())
    (trial,) = list_trials(searched)
    folder = tmp_path / "two" / "runs" / trial.key
    with tuning(tmp_path, "--space", str(file)) as process:
        wait_for(lambda: epochs(folder) > 4 * every, process)
        os.kill(worker_of(folder), signal.SIGKILL)
        killed, saved = epochs(folder), newest(folder)
        wait_for(lambda: epochs(folder) < killed, process)  # lines after the checkpoint are removed
        assert epochs(folder) >= saved
        assert killed - saved <= 2 * every  # the last checkpoint, or the one before if that was being written
        assert process.wait(PATIENCE) == 0, (tmp_path / "output.txt").read_text()
    same_as_torchrun(trial, folder, tmp_path)


def same_as_torchrun(trial: Trial, folder: Path, tmp_path: Path) -> None:
    straight = tmp_path / "straight"
    valid = spawn(2, run_rank, 2, trial.run_config(tmp_path), str(straight))
    assert json.loads((folder / "result.json").read_text())["valid"] == valid[0]
    mine, other = (Ticket.load(path / "best.ticket").masks for path in (folder, straight))
    assert all(torch.equal(mine[name], other[name]) for name in mine)
    scores, others = (checkpoint.newest(path)[0] for path in (folder, straight))
    assert scores is not None
    assert others is not None
    for name, value in scores.tensors["trained"].items():
        assert torch.equal(value, others.tensors["trained"][name])


def epochs(folder: Path) -> int:
    """The number of epochs that the run has written so far."""
    try:
        return len((folder / "metrics.jsonl").read_text().splitlines())
    except FileNotFoundError:
        return 0


def newest(folder: Path) -> int:
    """The epoch in which the newest whole checkpoint was taken."""
    start, _ = checkpoint.newest(folder)
    assert start is not None
    return start.epoch


def worker_of(folder: Path) -> int:
    """The process of the main rank, from the folder's lock."""
    return int((folder / ".lock").read_text().split()[1])
