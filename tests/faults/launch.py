"""Runs under torchrun's own agent, in processes forked from one that has done the slow imports; and what they leave.

What `torchrun -m ugts_dist train ...` does happens here too: an agent in a session of its own starts the ranks, and
each of them calls the program's `main`. Only the imports are not repeated in every process.
"""

from __future__ import annotations

import ctypes
import faulthandler
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

import tests.processes  # noqa: F401  (it sets what is imported beforehand, which is set again below)
from tests.faults.observe import BOUND, kill, session

EPOCHS = 24

TINY = {
    "model.width": "16",
    "run.epochs": str(EPOCHS),
    "checkpoint.every-steps": "5",
    "log.progress": "False",
    "log.to": "",
}
"""A run of about a second: two steps an epoch, 9 checkpoints by steps and some more by best epochs."""

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "torch",
        "torch.distributed",
        "torch_geometric.nn",
        "scipy.sparse",
        "sklearn.datasets",
        "hypothesis",
        "pytest",
        "ugts_dist.cli",
        "ugts_dist.training.run",
        "tests.faults.launch",
    ]
)


def train_arguments(folder: Path | str = "", **changes: str) -> list[str]:
    """`train --preset digits ...` of a tiny run; `model__width="8"` sets a field."""
    fields = TINY | {name.replace("__", "."): value for name, value in changes.items()}
    if folder:
        fields["run.folder"] = str(folder)
    arguments = ["train", "--preset", "digits"]
    for name, value in fields.items():
        section, _, field_name = name.rpartition(".")
        if value in ("True", "False"):
            arguments.append(f"--{section}.{'' if value == 'True' else 'no-'}{field_name}")
        else:
            arguments += [f"--{name}", *([value] if value else [])]
    return arguments


@dataclass(frozen=True)
class Agent:
    """How the agent is started.

    Attributes:
        endpoint: where agents meet; a free port of this machine for a single agent.
        run_id: what torchrun's `--rdzv-id` sets.
        orphans_from: `start` or `data`: the ranks wait there until the agent has died.
    """

    ranks: int = 2
    nodes: tuple[int, int] = (1, 1)
    max_restarts: int = 0
    endpoint: str = "localhost:0"
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    orphans_from: str = ""


@dataclass
class Launch:
    """One agent with its ranks, running or ended.

    Attributes:
        notes: a folder with one file a rank, `rank-0`, which holds the number of its process; and `evaluating` while
            the main rank evaluates.
        log: what all of them printed.
    """

    process: BaseProcess
    notes: Path
    log: Path

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def rank(self, number: int) -> int:
        """The process of a rank; 0 if it has not begun."""
        try:
            return int((self.notes / f"rank-{number}").read_text())
        except (OSError, ValueError):
            return 0

    def alive(self) -> list[int]:
        """The processes of the launch that have not ended."""
        return session(self.pid)

    def wait(self, bound: float = BOUND) -> int:
        """The exit code of the agent, once all its processes are gone. Raises TimeoutError, and ends what is left."""
        deadline = time.monotonic() + bound
        while self.process.is_alive() or self.alive():
            if time.monotonic() > deadline:
                for pid in self.alive():  # each prints where it hangs
                    kill(pid, signal.SIGUSR2)
                time.sleep(0.5)
                left = self.end()
                raise TimeoutError(f"processes {left} are left after {bound:g} s:\n{self.told()}")
            time.sleep(0.005)
        self.process.join()
        assert self.process.exitcode is not None
        return self.process.exitcode

    def end(self) -> list[int]:
        """Kill all processes that are left, and return them."""
        left = self.alive()
        for pid in left:
            kill(pid, signal.SIGKILL)
        self.process.join()
        return left

    def told(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def warm_up() -> None:
    """Wait until the process from which the others are forked has imported everything."""
    process = CONTEXT.Process(target=int)
    process.start()
    process.join()


def launch(arguments: Sequence[str], place: Path, agent: Agent | None = None) -> Launch:
    """Start an agent whose ranks run the program in `place` with these arguments; its notes and its log are there."""
    return _launch(place, _agent, list(arguments), agent or Agent())


def launch_alone(arguments: Sequence[str], place: Path) -> Launch:
    """The program in a single process, without an agent."""
    return _launch(place, _single, list(arguments))


def _launch(place: Path, target: Callable[..., None], *args: Any) -> Launch:
    place.mkdir(parents=True, exist_ok=True)
    notes = place / f"notes-{uuid.uuid4().hex[:8]}"
    notes.mkdir()
    process = CONTEXT.Process(target=_in_session, args=(str(notes), target, *args))
    process.start()
    return Launch(process, notes, notes / "log")


def _in_session(notes: str, target: Callable[..., None], *args: Any) -> None:
    os.setsid()
    _redirect(Path(notes, "log"))
    faulthandler.register(signal.SIGUSR2)
    os.chdir(Path(notes).parent)
    tempfile.tempdir = os.environ["TMPDIR"] = notes  # what killed processes leave there goes with the notes
    torch.set_num_threads(1)
    target(*args, notes)


def _single(arguments: list[str], notes: str) -> None:
    from ugts_dist.cli import main

    main(arguments)


def _agent(arguments: list[str], agent: Agent, notes: str) -> None:
    config = LaunchConfig(
        *agent.nodes,
        agent.ranks,
        logs_specs=DefaultLogsSpecs(str(Path(notes, "elastic"))),
        run_id=agent.run_id,
        rdzv_backend="c10d",
        rdzv_endpoint=agent.endpoint,
        # By default it takes half a minute to notice a lost agent and to stop waiting for another one.
        rdzv_configs={"last_call_timeout": 1, "keep_alive_interval": 1, "keep_alive_max_attempt": 2},
        max_restarts=agent.max_restarts,
        start_method="fork",
    )
    try:
        elastic_launch(config, _rank)(arguments, notes, agent.orphans_from)
    except ChildFailedError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


def _rank(arguments: list[str], notes: str, orphans_from: str) -> None:
    from ugts_dist.cli import main
    from ugts_dist.distributed import rendezvous
    from ugts_dist.evaluation.evaluator import Evaluator
    from ugts_dist.training import run

    # torchrun requests no signal at its death, and its ranks have none of its handlers and sockets.
    ctypes.CDLL(None).prctl(1, 0)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _close_sockets()
    agent = os.getppid()
    note = Path(notes, f"rank-{os.environ['RANK']}")
    note.with_suffix(".new").write_text(str(os.getpid()))
    note.with_suffix(".new").rename(note)
    if os.environ["RANK"] == "0":
        Evaluator.measure = _noted(Evaluator.measure, Path(notes, "evaluating"))  # type: ignore[method-assign]
    if orphans_from == "start":
        rendezvous._STORE_SECONDS = 1.0
        _until_death_of(agent)
    elif orphans_from == "data":
        run._checked = _after_death_of(agent, run._checked, Path(notes, f"waits-{os.environ['RANK']}"))
    main(arguments)
    # The agent would wait for a function's result although its process has died.
    threading.Thread(target=_after_death_of(agent, os._exit), args=(0,), daemon=True).start()


def _close_sockets() -> None:
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                os.close(int(name))
        except OSError:  # that of the list itself
            continue


def _after_death_of(parent: int, function: Callable[..., Any], note: Path | None = None) -> Callable[..., Any]:
    def later(*args: Any) -> Any:
        if note is not None:
            note.touch()
        _until_death_of(parent)
        return function(*args)

    return later


def _until_death_of(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.05)


def _noted(measure: Callable[..., Any], note: Path) -> Callable[..., Any]:
    """The same function; while it runs, the file exists."""

    def noted(*args: Any) -> Any:
        note.touch()
        try:
            return measure(*args)
        finally:
            note.unlink()

    return noted


def _redirect(log: Path) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False, buffering=1)
