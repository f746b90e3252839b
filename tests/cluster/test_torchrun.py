"""One run on two hosts: a rank is killed, then a host is cut off, and the run ends as without that."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.hosts import Host, network, why_not
from tests.faults.launch import launch as launch_here
from tests.faults.launch import train_arguments
from tests.faults.observe import outcome

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())

EPOCHS = 70
INTERVAL = 5  # steps between two checkpoints
STEPS = 2  # of an epoch
BOUND = 180.0  # seconds after which something hangs


@dataclass
class Run:
    """A run in `folder/run`, which every host sees."""

    folder: Path

    @property
    def epochs(self) -> int:
        """The number of epochs in its metrics."""
        file = self.folder / "run/metrics.jsonl"
        return file.read_text().count("\n") if file.exists() else 0

    def told(self, host: Host) -> str:
        return (self.folder / f"{host.name}.log").read_text(errors="replace")

    def resumed(self, host: Host) -> list[int]:
        """The steps from which it resumed."""
        return [int(step) for step in re.findall(r"resumes at .* from \S+/step-(\d+)", self.told(host))]

    def launch(self, hosts: list[Host], restarts: int) -> list[subprocess.Popen[bytes]]:
        """The same command on every host, as in the batch script."""
        meet = ["--rdzv-backend=c10d", f"--rdzv-endpoint={hosts[0].name}:29400", "--rdzv-id=7"]
        options = [f"--nnodes={len(hosts)}", "--nproc-per-node=1", *meet, "--rdzv-conf=join_timeout=60"]
        program = [
            sys.executable,
            "-m",
            "ugts_dist.distributed.launch",
            *options,
            f"--max-restarts={restarts}",
            "-m",
            "ugts_dist",
        ]
        train = [*train_arguments("run", run__epochs=str(EPOCHS), run__timeout="10")]
        return [host.start([*program, *train], self.folder / f"{host.name}.log", self.folder) for host in hosts]


def until(condition: Callable[[], bool], run: Run, hosts: list[Host]) -> None:
    deadline = time.monotonic() + BOUND
    while not condition():
        assert time.monotonic() < deadline, "\n".join(run.told(host) for host in hosts)
        time.sleep(0.02)


def test_a_killed_rank_is_restarted_and_a_run_outlives_the_loss_of_a_host(tmp_path: Path) -> None:
    alone = launch_here(train_arguments(tmp_path / "alone", run__epochs=str(EPOCHS), run__timeout="10"), tmp_path)
    assert alone.wait() == 0, alone.told()

    with network(2) as hosts:
        first, second = hosts
        run = Run(tmp_path)
        launchers = run.launch(hosts, restarts=1)

        until(lambda: run.epochs >= 15, run, hosts)
        killed, done = first.rank(0), run.epochs
        os.kill(killed, signal.SIGKILL)
        until(lambda: bool(run.resumed(first)), run, hosts)
        assert done * STEPS - INTERVAL <= run.resumed(first)[0] < EPOCHS * STEPS
        assert re.search(r"ugts: rank 0 \(process \d+ on h1\) died", run.told(second)), run.told(second)

        goes_on = run.resumed(first)[0] // STEPS + 10
        until(lambda: run.epochs >= goes_on, run, hosts)
        second.cut()
        for launcher in launchers:
            assert launcher.wait(BOUND) == 1
        assert re.search(r"ugts: rank 1 \(process \d+ on h2\) died, or did not answer for 10 s", run.told(first))
        assert not (tmp_path / "run/result.json").exists()
        done = run.epochs

        second.mend()
        for launcher in run.launch(hosts, restarts=0):
            assert launcher.wait(BOUND) == 0, run.told(first) + run.told(second)
        assert len(run.resumed(first)) == 2
        assert run.resumed(first)[1] >= done * STEPS - INTERVAL

    assert outcome(tmp_path / "run").differs(outcome(tmp_path / "alone")) == []
    assert len((tmp_path / "run/metrics.jsonl").read_text().splitlines()) == EPOCHS
    assert json.loads((tmp_path / "run/result.json").read_text())["test"] > 0.5
