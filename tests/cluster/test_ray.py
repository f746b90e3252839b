"""A Ray cluster of three hosts, started by the script, and a search on it that loses one of them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.hosts import LOCAL, Host, network, why_not
from tests.cluster.stubs import CLUSTER
from tests.faults.launch import launch as launch_here
from tests.faults.observe import outcome

pytestmark = [
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
    pytest.mark.slow,  # test_torchrun.py cuts off a host too, and tests/tuning/test_search.py kills a search
    pytest.mark.xdist_group("ray"),
]

PROGRAMS = Path(sys.executable).parent
INTERVAL = 5  # steps between two checkpoints
BOUND = 240.0  # seconds after which something hangs

SPACE = f"""
[base]
preset = "digits"
[fields]
"supermask.sparsity" = {{ grid = [0.5, 0.9] }}
"model.width" = 16
"run.epochs" = 50
"run.timeout" = 10.0
"checkpoint.every_steps" = {INTERVAL}
"log.to" = []
[search]
kind = "grid"
dense = false
seeds = 1
workers = 2
"""


def environment(folder: Path) -> dict[str, str]:
    """Ray's files on the host's own disk, the token on the shared one, and a lost host noticed after seconds."""
    return {
        "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
        "RAY_TMPDIR": str(LOCAL),
        "RAY_ADDRESS": "h1:6379",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "RAY_health_check_initial_delay_ms": "1000",
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_timeout_ms": "1000",
        "RAY_health_check_failure_threshold": "4",
    }


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[list[Host]]:
    """Three hosts with one CPU each, which the script has joined to a cluster."""
    script, given = CLUSTER / "ray-node.sh", environment(tmp_path)
    with network(3) as hosts:
        made = hosts[0].run([script, "token"], tmp_path, given)
        assert made.returncode == 0, made.stdout
        starts = []
        for host in hosts:
            role = ["head"] if host is hosts[0] else ["worker", "--head", "h1"]
            own = ["--include-dashboard=false"] if host is hosts[0] else []
            options = ["--interface", "eth0", "--cpus", "1", "--gpus", "0", "--", "--object-store-memory=100000000"]
            starts.append(host.start([script, *role, *options, *own], tmp_path / f"{host.name}.log", tmp_path, given))
        for host, start in zip(hosts, starts, strict=True):
            assert start.wait(120.0) == 0, (tmp_path / f"{host.name}.log").read_text()
        yield hosts


def trains(host: Host) -> bool:
    """Whether a rank of a trial runs on the host."""
    return bool(host.processes(lambda process: b"TrainWorker" in (process / "cmdline").read_bytes()))


def resumed(hosts: list[Host], folder: Path) -> list[tuple[str, int]]:
    """The resumed runs, with the step from which each resumed."""
    told = [host.run(["sh", "-c", f"cat {LOCAL}/ray/session_latest/logs/worker*.err"], folder).stdout for host in hosts]
    resumes = re.findall(r"ugts: (\S+) resumes at .* from \S+/step-(\d+)", "\n".join(told))
    return sorted({(path, int(step)) for path, step in resumes})


def epochs(run: Path) -> int:
    with contextlib.suppress(OSError):
        return (run / "metrics.jsonl").read_text().count("\n")
    return 0


def test_a_search_outlives_the_loss_of_a_host(tmp_path: Path, cluster: list[Host]) -> None:
    first, given = cluster[0], environment(tmp_path)
    spread = first.run([sys.executable, Path(__file__).with_name("spread.py")], tmp_path, given)
    assert spread.returncode == 0, spread.stdout
    seen = json.loads(spread.stdout.splitlines()[-1])
    assert set(seen["hosts"]) == {"h1", "h2", "h3"}
    assert seen["networks"] == ["eth0"]

    (tmp_path / "space.toml").write_text(SPACE)
    where = ["--storage", "searches", "--address", "h1:6379"]
    tune = [str(PROGRAMS / "ugts"), "tune", "--space", "space.toml", *where]
    log = tmp_path / "tune.log"
    del given["RAY_AUTH_MODE"]  # the search detects that this cluster requires a token
    search = first.start(tune, log, tmp_path, given)

    def begun() -> list[Path]:
        return [file.parent for file in tmp_path.glob("searches/*/runs/*/metrics.jsonl") if epochs(file.parent) >= 10]

    deadline = time.monotonic() + BOUND
    while not begun():
        assert search.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    (run,) = begun()
    lost = next(host for host in cluster[1:] if trains(host))
    done = epochs(run)
    lost.cut()
    assert search.wait(BOUND) == 0, log.read_text()

    went_on = dict(resumed([host for host in cluster if host is not lost], tmp_path))
    assert len(went_on) == 1, went_on  # the trial that was cut, and no other
    assert went_on.popitem()[1] >= done * 2 - INTERVAL
    alone = launch_here(["train", "--config", str(run / "config.toml"), "--run.folder", "alone"], tmp_path)
    assert alone.wait() == 0, alone.told()
    assert outcome(run).differs(outcome(tmp_path / "alone")) == []
