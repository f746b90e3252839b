"""Ranks that die or hang, launchers that die or are told to stop: nobody waits for ever, and nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.faults.kills import Reference
from tests.faults.launch import EPOCHS, Agent, Launch, launch, launch_alone, train_arguments
from tests.faults.observe import kill, outcome, state, until
from tests.training.helpers import equal_share
from ugts_dist.checkpointing import checkpoint
from ugts_dist.supermask import Ticket


def trains(folder: Path, epochs: int = 3) -> bool:
    """Whether this number of epochs is done."""
    try:
        return (folder / "metrics.jsonl").read_text().count("\n") >= epochs
    except OSError:
        return False


def some_run_trains(place: Path, epochs: int) -> bool:
    """The same of any run under runs/."""
    return any(trains(path, epochs) for path in place.glob("runs/*"))


def has_ended(pid: int) -> bool:
    return state(pid) in "ZX"


def the_run(place: Path) -> Path:
    """The only folder under runs/."""
    (folder,) = (place / "runs").iterdir()
    return folder


# Lost ranks


def test_the_launcher_starts_all_ranks_again(tmp_path: Path, alone: Reference) -> None:
    """They find the folder of their launch without its name, and resume in it, whichever rank is lost."""
    one = launch(train_arguments(), tmp_path, Agent(max_restarts=2))
    lost = [lose(one, 1, lambda: some_run_trains(tmp_path, 4)), lose(one, 0, lambda: some_run_trains(tmp_path, 12))]
    assert len(set(lost)) == 2
    assert one.wait() == 0, one.told()
    assert one.told().count("resumes at epoch ") == 2
    assert outcome(the_run(tmp_path)).differs(alone.outcome) == []


def lose(one: Launch, rank: int, when: Callable[[], bool]) -> int:
    """Kill a rank, and wait for the one in its place."""
    assert until(when), one.told()
    pid = one.rank(rank)
    assert kill(pid, signal.SIGKILL)
    assert until(lambda: one.rank(rank) != pid), one.told()
    return pid


def test_a_rank_that_hangs_is_named(tmp_path: Path, one_thread_each: None) -> None:
    """By the others, which end."""
    places = [tmp_path / "main-rank-hangs", tmp_path / "other-rank-hangs"]
    launches = [launch(train_arguments(p / "run", run__epochs="100000", run__timeout="5"), p) for p in places]
    for hung, (place, one) in enumerate(zip(places, launches, strict=True)):
        assert until(partial(trains, place / "run")), one.told()
        assert kill(one.rank(hung), signal.SIGSTOP)
    for hung, one in enumerate(launches):
        assert until(partial(has_ended, one.rank(1 - hung))), one.told()
        pid = one.rank(hung)
        line = f"ugts: rank {hung} (process {pid} on {socket.gethostname()}) died, or did not answer for 5 s"
        assert line in one.told().splitlines(), one.told()
        assert state(pid) == "T"
        kill(pid, signal.SIGKILL)  # as torchrun does half a minute later
        assert one.wait() == 1


@pytest.mark.parametrize("where", [pytest.param("start", marks=pytest.mark.slow), "data"])
def test_ranks_end_whose_launcher_died_before_they_trained(tmp_path: Path, one_thread_each: None, where: str) -> None:
    one = launch(train_arguments(tmp_path / "run"), tmp_path, Agent(orphans_from=where))
    assert until(lambda: one.rank(0) > 0 and one.rank(1) > 0)
    if where == "data":  # where all of them are once they have met
        assert until(lambda: (one.notes / "waits-0").exists() and (one.notes / "waits-1").exists())
    kill(one.pid, signal.SIGKILL)
    one.wait()
    assert not (tmp_path / "run/result.json").exists()


# Told to stop


def test_a_single_process_that_is_told_to_stop(tmp_path: Path, one_thread_each: None) -> None:
    """It saves itself, its exit code asks for a restart, and then it resumes."""
    arguments = {"run__epochs": "60", "checkpoint__every_steps": "0"}
    undisturbed = launch_alone(train_arguments(tmp_path / "alone", **arguments), tmp_path)
    signals = (signal.SIGTERM, signal.SIGUSR1)
    launches = [launch_alone(train_arguments(tmp_path / number.name, **arguments), tmp_path) for number in signals]
    for number, one in zip(signals, launches, strict=True):
        folder = tmp_path / number.name
        assert until(partial(trains, folder)), one.told()
        assert kill(one.pid, number)
    again = []
    for number, one in zip(signals, launches, strict=True):
        folder = tmp_path / number.name
        assert one.wait() == 75, one.told()
        assert one.told() == f"ugts: stopped by {number.name}; to resume: ugts train {folder}\n"
        newest, problems = checkpoint.newest(folder)
        assert newest is not None
        assert problems == []
        assert newest.epoch < 60
        again.append(launch_alone(["train", str(folder)], tmp_path))
    assert undisturbed.wait() == 0
    for number, one in zip(signals, again, strict=True):
        assert one.wait() == 0, one.told()
        assert outcome(tmp_path / number.name).differs(outcome(tmp_path / "alone")) == []


def test_a_launcher_that_is_told_to_stop(tmp_path: Path, alone: Reference) -> None:
    """All ranks save and leave before it would kill them."""
    one = launch(train_arguments(tmp_path / "run"), tmp_path)
    assert until(lambda: trains(tmp_path / "run"))
    ranks = [one.rank(0), one.rank(1)]
    assert kill(one.pid, signal.SIGTERM)
    assert until(lambda: all(map(has_ended, ranks)), 25.0), one.told()
    one.wait()
    assert f"ugts: stopped by SIGTERM; to resume: ugts train {tmp_path / 'run'}" in one.told()
    again = launch(train_arguments(tmp_path / "run"), tmp_path)
    assert again.wait() == 0, again.told()
    assert outcome(tmp_path / "run").differs(alone.outcome) == []


# Fewer machines than before


@pytest.mark.slow
def test_a_machine_less(tmp_path: Path, alone: Reference) -> None:
    """Two agents with a rank each, as on two machines. One is lost with its rank; the other continues alone."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    both = Agent(ranks=1, nodes=(1, 2), max_restarts=3, endpoint=f"localhost:{port}", run_id="elastic")
    first = launch(train_arguments(), tmp_path, both)
    assert until(lambda: listens(port))
    second = launch(train_arguments(), tmp_path, both)
    assert until(lambda: some_run_trains(tmp_path, 6)), first.told() + second.told()
    os.killpg(second.pid, signal.SIGKILL)
    second.wait()
    assert first.wait() == 0, first.told()
    folder = the_run(tmp_path)
    assert "resumes at epoch " in first.told()
    assert_close(folder, alone)


def assert_close(folder: Path, alone: Reference) -> None:
    """The same, except for the order of sums."""
    metrics, wanted = (folder / "metrics.jsonl").read_text(), alone.outcome.metrics.decode()
    rows = [[json.loads(line) for line in text.splitlines()] for text in (metrics, wanted)]
    assert len(rows[0]) == len(rows[1]) == EPOCHS
    for row, other in zip(*rows, strict=True):
        assert row == pytest.approx(other, abs=1e-5)
    (folder / "alone.ticket").write_bytes(alone.outcome.best)
    masks = [Ticket.load(folder / name).masks for name in ("best.ticket", "alone.ticket")]
    assert equal_share(*masks) >= 0.999


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("localhost", port)) == 0
