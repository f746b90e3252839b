"""Runs that go on, or start again."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from tests.trials.case import Outcome, case, ugts
from tests.trials.small import cut_off, edit, store, train, trained


@case(r"exit 2: ugts: \S+: a run with optim.lr 0.01 \(now 0.5\); to resume .*: --resume.override optim.lr$")
def edited_configuration(folder: Path) -> str:
    """The config.toml of a run that was cut off is edited, and the run goes on."""
    run = cut_off(store(folder / "data"), folder / "run")
    edit(run / "config.toml", "lr = 0.01", "lr = 0.5")
    return ugts("train", run).told


@case(r"exit 2: ugts: \S+: a run with optim.lr 0.01 \(now 0.5\)")
def edited_configuration_of_a_finished_run(folder: Path) -> str:
    """The config.toml of a finished run is edited, and its result is asked for."""
    run = trained(store(folder / "data"), folder / "run")
    edit(run / "config.toml", "lr = 0.01", "lr = 0.5")
    return ugts("train", run).told


@case(r"exit 2: ugts: \S+: a run with supermask.coats 1 \(now 3\)")
def other_coats(folder: Path) -> str:
    """A run goes on with other supermask.coats, a field that old keys of runs do not have."""
    data = store(folder / "data")
    return train(data, trained(data, folder / "run"), "--supermask.coats", "3").told


def interrupted(folder: Path, times: int) -> Outcome:
    """A long run that gets Ctrl-C some times once its first epoch is over."""
    run = folder / "run"

    def press() -> None:
        while not (run / "metrics.jsonl").exists() or not (run / "metrics.jsonl").stat().st_size:
            time.sleep(0.01)
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    outcome = train(store(folder / "data"), run, "--run.epochs", "1000000")
    thread.join()
    return outcome


@case(r"exit 130: .*ugts: stopped by SIGINT; to resume: ugts train \S+/run; again: exit 0: .* resumes at epoch")
def interrupted_run(folder: Path) -> str:
    """A run gets Ctrl-C, and goes on with the command that it tells."""
    first = interrupted(folder, 1)
    command = first.err.strip().rpartition("to resume: ugts ")[2].split()
    epochs = len((folder / "run/metrics.jsonl").read_text().splitlines()) + 5
    again = ugts(*command, "--run.epochs", str(epochs), "--resume.override", "run.epochs")
    return f"{first.told}; again: {again.told}"


@case(r"exit 130: .*ugts: interrupted; to resume from its last checkpoint, or to begin again: ugts train \S+/run$")
def interrupted_before_it_begins(folder: Path) -> str:
    """A run gets Ctrl-C before its first step."""

    def press(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)  # it comes before that

    with mock.patch("ugts_dist.training.trainer.make_method", press):
        return train(store(folder / "data"), folder / "run").told


def in_folder(folder: Path, *commands: Callable[[], Outcome]) -> str:
    """What is told by commands that are given in a folder, one after another."""
    with contextlib.chdir(folder):
        return "; ".join(command().told for command in commands)


@case(r"exit 0: .*; exit 0: .* was begun by the same command; .* resumes at epoch 2, .* run folder runs/data-gcn-\S+0 ")
def same_command_after_a_kill(folder: Path) -> str:
    """The same command without a folder, after its run was killed."""
    data = store(folder / "data")

    def killed() -> Outcome:
        outcome = train(data, None)
        next(Path("runs").glob("*/result.json")).unlink()
        return outcome

    return in_folder(folder, killed, lambda: train(data, None))


@case(r"exit 0: .*; exit 0: ugts: runs/\S+0 is finished; this is a new run .*run folder runs/\S+0-2 ")
def same_command_after_the_end(folder: Path) -> str:
    """The same command without a folder, after its run has finished."""
    data = store(folder / "data")
    return in_folder(folder, lambda: train(data, None), lambda: train(data, None))
