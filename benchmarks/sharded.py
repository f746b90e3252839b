"""Features that hosts share out (`batch.placement sharded`) beside one copy a host, in alternation.

    export OMP_NUM_THREADS=1
    python benchmarks/sharded.py STORE --hosts 3 --rounds 2 --steps 10

A host is a process with a name of its own and, if features are shared out, a store with its share; they exchange rows
over the loopback interface. Memory is what a host has of the features' file, and its own besides; both at the end.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from side_by_side import machine, table

from ugts_dist.config import Config
from ugts_dist.distributed.ranks import ranks_from_environment
from ugts_dist.graphs.share_store import write_share
from ugts_dist.graphs.store import describe_store, open_store
from ugts_dist.tasks import NodeTask
from ugts_dist.training.trainer import make_trainer

_PLACEMENTS = ("auto", "sharded")
_WARM_UP = 3  # steps that are not counted
_EPOCHS = 10_000  # more than are ever begun


def main() -> None:
    options = _arguments()
    if "RANK" in os.environ:
        _host(options)
        return
    graph = describe_store(options.store)
    with tempfile.TemporaryDirectory(dir=options.disk) as folder:
        for part in range(options.hosts):
            write_share(options.store, Path(folder, str(part)), part, options.hosts)
        rounds = [{each: _run(each, folder, options) for each in _PLACEMENTS} for _ in range(options.rounds)]
    print(f"{graph.name}: {graph.num_nodes:,} nodes, {graph.num_edges:,} edges, {graph.num_features} features")
    print(f"{options.hosts} hosts, {options.batch} seeds a host and step, fan-out {options.fan_out}, {machine()}\n")
    rows = [
        [
            name,
            _told([each[placement]["seeds"] for each in rounds], 1, "{:,.0f}"),
            _told([each[placement]["waiting"] for each in rounds], 1, "{:.0%}"),
            _told([each[placement]["exchange"] for each in rounds], 1, "{:.0%}"),
            _told([each[placement]["wire"] for each in rounds], 1e-6, "{:.2f}"),
            _told([each[placement]["features"] for each in rounds], 1e-6, "{:,.0f}"),
            _told([each[placement]["private"] for each in rounds], 1e-6, "{:,.0f}"),
        ]
        for placement, name in zip(_PLACEMENTS, ("one copy a host", "shared out"), strict=True)
    ]
    header = ["features", "seeds/s", "waiting for batches", "an exchange, of a step", "MB a step and host"]
    print(table([*header, "features in memory, MB a host", "other memory, MB a host"], rows))
    print(f"\nA copy of the features is {graph.x.nbytes / 1e6:,.0f} MB.")


def _told(values: Sequence[float], factor: float, form: str) -> str:
    """Median, and in brackets the least and the most."""
    low, middle, high = (form.format(factor * f(values)) for f in (min, statistics.median, max))
    return f"{middle} ({low} to {high})"


def _run(placement: str, folder: str, options: argparse.Namespace) -> dict[str, float]:
    """One placement on all hosts: the medians over hosts of what `_host` prints."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={options.hosts}"]
    command += [__file__, *sys.argv[1:], "--placement", placement, "--shares", folder]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _host(options: argparse.Namespace) -> None:
    is_sharded = options.placement == "sharded"
    with ranks_from_environment("cpu") as ranks:
        ranks = replace(ranks, machine=f"host {ranks.rank}", local_world_size=1)
        graph = open_store(options.shares / str(ranks.rank) if is_sharded else options.store, shares=True)
        config = _config(options)
        training = make_trainer(config, NodeTask(graph), ranks)
        batches: Any = training.batches
        epochs = itertools.chain.from_iterable(map(batches.epoch, range(_EPOCHS)))
        waiting = 0.0
        for step in range(_WARM_UP + options.steps):
            if step == _WARM_UP:
                ranks.barrier()
                begin, waiting = time.perf_counter(), 0.0
                before = replace(batches.exchange.traffic) if is_sharded else None
            asked = time.perf_counter()
            batch = next(epochs)
            waiting += time.perf_counter() - asked
            training.step(batch, config.supermask.sparsity)
        ranks.barrier()
        seconds = time.perf_counter() - begin
        own = {"seeds": options.steps * config.batch.size / seconds, "waiting": waiting / seconds}
        own |= {"exchange": 0.0, "wire": 0.0, **_memory("x.npy")}
        if before is not None:
            traffic = batches.exchange.traffic
            exchanges = traffic.exchanges - before.exchanges  # of which one is for the step after the last
            own["exchange"] = (traffic.seconds - before.seconds) / exchanges / (seconds / options.steps)
            own["wire"] = (traffic.received - before.received) / exchanges
        figures = ranks.all_gather_object(own)
        if ranks.is_main:
            print(json.dumps({name: statistics.median(each[name] for each in figures) for name in own}))


def _memory(file: str) -> dict[str, int]:
    """Bytes in memory of a mapped file, and of this process alone. Linux only."""
    held, inside = {"features": 0, "private": 0}, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            inside = words[-1].endswith(f"/{file}")
        elif words[0] == "Rss:" and inside:
            held["features"] += int(words[1]) * 1024
        elif words[0] == "Anonymous:":
            held["private"] += int(words[1]) * 1024
    return held


def _config(options: argparse.Namespace) -> Config:
    return Config().replace(
        {
            "model.arch": "sage",
            "model.depth": len(options.fan_out),
            "model.width": options.width,
            "supermask.sparsity": 0.5,
            "optim.lr": 0.003,
            "batch.size": options.batch * options.hosts,
            "batch.fan_out": options.fan_out,
            "batch.placement": options.placement,
            "batch.cache_bytes": 0,
            "run.epochs": _EPOCHS,
        }
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, help="folder of a whole graph store")
    parser.add_argument("--hosts", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch", type=int, default=512, help="seeds a host and step")
    parser.add_argument("--fan-out", type=int, nargs="+", default=[15, 10])
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--disk", type=Path, help="folder for the shares, by default that for temporary files")
    parser.add_argument("--placement", choices=_PLACEMENTS, help=argparse.SUPPRESS)
    parser.add_argument("--shares", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
