"""One run on three hosts, each with its own share of the features on its own disk, of which one is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.hosts import LOCAL, ROOT, Host, network, why_not
from tests.cluster.test_stage_store import PROGRAMS
from tests.cluster.test_torchrun import BOUND, Run, until
from tests.faults.launch import Agent, train_arguments
from tests.faults.launch import launch as launch_here
from tests.faults.observe import outcome
from ugts_dist.checkpointing.checkpoint import folders
from ugts_dist.config import Config
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.loader import SeedPlan
from ugts_dist.graphs.sampling import NeighborSampler
from ugts_dist.graphs.store import open_store
from ugts_dist.graphs.synthetic import generate
from ugts_dist.graphs.synthetic_config import PRESETS

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not())]

HOSTS, EPOCHS = 3, 40
SETTINGS: dict[str, str] = {
    "data__features": "auto",
    "model__arch": "sage",
    "model__width": "160",
    "batch__size": "300",
    "run__epochs": str(EPOCHS),
    "run__evaluate_every": str(EPOCHS),
    "run__timeout": "30",
}


class LongRun(Run):
    """A run whose metrics say nothing before its end."""

    @property
    def steps(self) -> int:
        """Of its newest checkpoint."""
        names = [path.name for path in folders(self.folder / "run")]
        return int(names[-1].split("-")[1]) if names else 0


def arguments(folder: Path | str, store: Path, placement: str) -> list[str]:
    chosen = SETTINGS | {"data__name": str(store), "batch__placement": placement}
    return [*train_arguments(folder, **chosen), "--batch.fan-out", "4", "3"]


def launched(hosts: list[Host], folder: Path, store: Path, placement: str) -> list[subprocess.Popen[bytes]]:
    meet = ["--rdzv-backend=c10d", f"--rdzv-endpoint={hosts[0].name}:29400", "--rdzv-conf=join_timeout=60"]
    options = [f"--nnodes={len(hosts)}", "--nproc-per-node=1", *meet, "--rdzv-id=7"]
    program = [sys.executable, "-m", "torch.distributed.run", *options, "-m", "ugts_dist"]
    train = [*program, *arguments("run", store, placement)]
    return [host.start(train, folder / f"{host.name}.log", folder) for host in hosts]


def finish(launchers: list[subprocess.Popen[bytes]], run: Run, hosts: list[Host]) -> None:
    for launcher in launchers:
        assert launcher.wait(BOUND) == 0, "\n".join(run.told(host) for host in hosts)


def received(host: Host) -> int:
    """Bytes that have come over the host's cable."""
    lines = Path(f"/proc/{host.first}/net/dev").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.strip().startswith("eth0:"))


def expected(graph: Graph, steps: int) -> int:
    """Bytes of the rows that ranks lack, in all steps, counted by sampling each rank's batches here."""
    sampler, rows = NeighborSampler(graph.indptr, graph.indices, [4, 3], Config().run.seed), 0
    for rank in range(HOSTS):
        plan = SeedPlan(graph.train, 300, Config().run.seed, rank, HOSTS)
        first, stop = (graph.num_nodes * part // HOSTS for part in (rank, rank + 1))
        for step in range(steps):
            nodes = sampler.sample(step, plan.seeds(step)).nodes
            rows += int(((nodes < first) | (nodes >= stop)).sum())
    return rows * graph.x[0].nbytes


def test_hosts_with_shares_end_like_one_with_all_features_and_outlive_a_loss(
    tmp_path: Path, record_property: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "stores/graph"
    generate(PRESETS["arxiv-like"].scaled(0.02), store)
    graph = open_store(store)
    steps = EPOCHS * -(-graph.train.numel() // 300)
    alone = launch_here(arguments(tmp_path / "alone", store, "auto"), tmp_path, Agent(ranks=HOSTS))
    assert alone.wait(BOUND) == 0, alone.told()

    with network(HOSTS) as hosts:
        staged = []
        for number, host in enumerate(hosts, 1):
            stage: list[str | Path] = [
                ROOT / "cluster/stage-store.sh",
                "--share",
                f"{number}/{HOSTS}",
                "graph",
                store.parent,
                LOCAL,
            ]
            staged.append(host.start(stage, tmp_path / f"{host.name}.stage", tmp_path, {"PATH": PROGRAMS}))
        assert [process.wait(BOUND) for process in staged] == [0] * HOSTS, (tmp_path / "h1.stage").read_text()

        came = {}
        for placement, place in (("auto", store), ("sharded", LOCAL / "graph")):
            (tmp_path / placement).mkdir()
            before = sum(map(received, hosts))
            run = Run(tmp_path / placement)
            finish(launched(hosts, run.folder, place, placement), run, hosts)
            came[placement] = sum(map(received, hosts)) - before
            assert outcome(run.folder / "run").differs(outcome(tmp_path / "alone")) == []

        run = LongRun(tmp_path / "killed")
        run.folder.mkdir()
        launchers = launched(hosts, run.folder, LOCAL / "graph", "sharded")
        until(lambda: run.steps >= steps // 4, run, hosts)
        for process in hosts[1].processes(lambda entry: int(entry.name) != hosts[1].first):
            os.kill(process, signal.SIGKILL)
        for launcher in launchers:
            assert launcher.wait(BOUND) != 0
        assert not (run.folder / "run/result.json").exists()
        finish(launched(hosts, run.folder, LOCAL / "graph", "sharded"), run, hosts)
        assert any(run.resumed(host) for host in hosts)
        assert outcome(run.folder / "run").differs(outcome(tmp_path / "alone")) == []

    fetched, wanted = came["sharded"] - came["auto"], expected(graph, steps)
    tables = (HOSTS - 1) * graph.x.nbytes  # of the evaluation, which reads what hosts lack once
    assert wanted < fetched - tables < 1.2 * wanted
    told = (
        f"{fetched / steps / 1e3:,.0f} kB a step over the wire for features, all hosts together; "
        f"a copy of the features on each host: {HOSTS * graph.x.nbytes / 1e3:,.0f} kB"
    )
    record_property("wire", told)
    with capsys.disabled():
        print(f"\n{told}")
