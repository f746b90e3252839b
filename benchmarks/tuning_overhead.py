"""What Ray costs: a search of 12 short trials against the same runs one after another without it.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/tuning_overhead.py    # writes results/tuning_overhead.md

Both get one CPU, so that nothing is gained by running two trials at once. A second search with two CPUs shows what
that gains. Times are of a fresh process each, its imports among them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from side_by_side import machine, table

SPACE = """
[base]
preset = "digits"
[fields]
"supermask.sparsity" = {{grid = [0.5, 0.8, 0.9]}}
"optim.lr" = {{grid = [0.01, 0.03]}}
"model.depth" = {{grid = [2, 3]}}
"run.epochs" = {epochs}
"batch.size" = 0
"batch.fan_out" = {{choice = [[]]}}
"log.to" = []
[search]
seeds = 1
dense = false
"""
RESULT = Path(__file__).parent / "results" / "tuning_overhead.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--part", default="", help=argparse.SUPPRESS)  # what a fresh process is to do
    options = parser.parse_args()
    if options.part:
        name, folder = options.part.split("=")
        print(json.dumps(_measure(name, Path(folder), options.epochs)))
        return
    measured = {name: _fresh(name, options.epochs) for name in ("serial", "ray-1", "ray-2")}
    lines = _report(measured, options.epochs)
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def _fresh(name: str, epochs: int) -> dict[str, float]:
    """The figures of a process of its own, and all its time."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--epochs", str(epochs), "--part", f"{name}={folder}"]
        started = time.perf_counter()
        output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        return {"all": time.perf_counter() - started, **json.loads(output.splitlines()[-1])}


def _measure(name: str, folder: Path, epochs: int) -> dict[str, float]:
    from tuning.plan import list_trials
    from tuning.space import parse_space

    space = parse_space(SPACE.format(epochs=epochs), "benchmark", "benchmark")
    trials = list_trials(space)
    if name == "serial":
        return _serial(trials, folder)
    return _through_ray(space, folder, int(name.removeprefix("ray-")))


def _serial(trials: list[Any], folder: Path) -> dict[str, float]:
    from ugts_dist.distributed.ranks import Ranks
    from ugts_dist.training.run import run

    seconds = [run(trial.run_config(folder), Ranks())[0].seconds for trial in trials]
    return {"runs": sum(seconds)}


def _through_ray(space: Any, folder: Path, cpus: int) -> dict[str, float]:
    """The search as `ugts tune` does it, with the times at which its parts are over."""
    from tuning.interrupt import Interrupt
    from tuning.manifest import open_search
    from tuning.search import Search
    from tuning.view import View
    from ugts_dist.distributed.ray_cluster import connected

    started = time.perf_counter()
    with open_search(folder / "search", space) as manifest, connected("", cpus):
        up = time.perf_counter()
        outcome = Search(space, manifest, cpus, View("benchmark"), Interrupt("ugts tune")).run()
        over = time.perf_counter()
        results = [manifest.result(trial.key) or {} for trial in outcome.trials]
        begun = min((manifest.runs / trial.key / "config.toml").stat().st_mtime for trial in outcome.trials)
        first = begun - (time.time() - (time.perf_counter() - up))  # until the first trial has begun
    return {
        "start": up - started,
        "first": first,
        "search": over - up,
        "stop": time.perf_counter() - over,
        "runs": sum(result["seconds"] for result in results),
    }


def _report(measured: dict[str, dict[str, float]], epochs: int) -> list[str]:
    serial, ray, two = measured["serial"], measured["ray-1"], measured["ray-2"]
    rows = [
        ["wall time", serial["all"], ray["all"], two["all"]],
        ["training and evaluation, summed over trials", serial["runs"], ray["runs"], two["runs"]],
        ["Ray's start", 0.0, ray["start"], two["start"]],
        ["until the first trial begins: its process, its imports", 0.0, ray["first"], two["first"]],
        ["all trials, from there on", serial["runs"], *(r["search"] - r["first"] for r in (ray, two))],
        ["Ray's end", 0.0, ray["stop"], two["stop"]],
    ]
    headings = ["seconds", "without Ray", "Ray, 1 CPU", "Ray, 2 CPUs"]
    return [
        "# What Ray costs",
        "",
        f"12 trials of {epochs} epochs on digits, full batch, one worker each. {machine()}.",
        "",
        table(headings, [[str(row[0]), *(f"{value:.1f}" for value in row[1:])] for row in rows]),
        "",
        f"Wall time against the same runs without Ray: {ray['all'] / serial['all']:.2f} with one CPU, "
        f"{two['all'] / serial['all']:.2f} with two.",
    ]


if __name__ == "__main__":
    main()
