"""GIN: UGTs beside Edge-Popup at high sparsities, with the same budget of tuning for each.

    UGTS_DATA=DATA .venv/bin/python benchmarks/gin_edge_popup.py            # an hour of one core
    ... gin_edge_popup.py --table                                           # what is measured so far

Twelve settings of each method, for each graph and sparsity, on the presets `cora-gin` and `citeseer-gin`. The one with
the best mean validation accuracy over seeds 0 to 2 is run with seeds 0 to 4; its test accuracy is in the table. Each
finished run is kept in results/gin_edge_popup.json and never repeated.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from ugts_dist.atomic import write_text
from ugts_dist.config import load_preset
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.spread import Spread
from ugts_dist.training.run import run

RESULTS = Path(__file__).parent / "results" / "gin_edge_popup.json"
QUIET = {"log.progress": False, "log.to": [], "checkpoint.keep_last": 0}
GRAPHS, SPARSITIES, TRIED, SEEDS = ("cora", "citeseer"), (0.9, 0.95, 0.99), range(3), range(5)

Settings = dict[str, Any]
Runs = dict[str, dict[str, float]]


def grid(method: str) -> list[Settings]:
    """The settings that are tried: of UGTs the ramp, of Edge-Popup, which has none, more weight decays and scales."""
    if method == "ugts":
        axes: Settings = {
            "supermask.ramp": [0.1, 0.25],
            "supermask.output_rms": [0.03, 0.1, 0.3],
            "optim.weight_decay": [1e-4, 1e-3],
        }
    else:
        axes = {"supermask.output_rms": [0.01, 0.03, 0.1, 0.3], "optim.weight_decay": [0.0, 1e-4, 1e-3]}
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def key(graph: str, method: str, sparsity: float, settings: Settings, seed: int) -> str:
    return f"{graph}/{method}/{sparsity}/{json.dumps(settings)}/{seed}"


def measure(runs: Runs, graph: str, method: str, sparsity: float, settings: Settings, seed: int) -> dict[str, float]:
    """A run, unless it is there."""
    name = key(graph, method, sparsity, settings, seed)
    if name not in runs:
        changes = {"supermask.method": method, "supermask.sparsity": sparsity, "run.seed": seed, **settings}
        with tempfile.TemporaryDirectory() as folder:
            config = load_preset(f"{graph}-gin").replace({**QUIET, **changes, "run.folder": f"{folder}/run"})
            result, _ = run(config, Ranks())
        runs[name] = {"valid": result.valid, "test": result.test, "bytes": result.bytes, "seconds": result.seconds}
        write_text(RESULTS, json.dumps(runs, indent=1) + "\n")
    return runs[name]


def validation(runs: Runs, graph: str, method: str, sparsity: float, settings: Settings) -> float:
    """Mean over the seeds that choose; below all others where one is missing."""
    found = [runs.get(key(graph, method, sparsity, settings, seed)) for seed in TRIED]
    return statistics.mean(one["valid"] for one in found if one is not None) if all(found) else -1.0


def best(runs: Runs, graph: str, method: str, sparsity: float) -> Settings:
    return max(grid(method), key=lambda settings: validation(runs, graph, method, sparsity, settings))


def table(runs: Runs) -> str:
    lines = ["| graph | sparsity | method | chosen | seeds | validation | test |", "|---" * 7 + "|"]
    for graph, sparsity, method in itertools.product(GRAPHS, SPARSITIES, ("ugts", "edge-popup")):
        if any(validation(runs, graph, method, sparsity, settings) < 0 for settings in grid(method)):
            continue
        chosen = best(runs, graph, method, sparsity)
        found = [runs[name] for seed in SEEDS if (name := key(graph, method, sparsity, chosen, seed)) in runs]
        shown = [f"{Spread.of([100 * one[kind] for one in found]):.1f}" for kind in ("valid", "test")]
        said = ", ".join(f"{name.partition('.')[2]} {value:g}" for name, value in chosen.items())
        lines.append(f"| {graph} | {sparsity} | {method} | {said} | {len(found)} | {shown[0]} | {shown[1]} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    runs: Runs = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for graph, sparsity, method in itertools.product(GRAPHS, SPARSITIES, ("ugts", "edge-popup")):
        if options.table:
            break
        for settings, seed in itertools.product(grid(method), TRIED):
            measure(runs, graph, method, sparsity, settings, seed)
        for seed in SEEDS:
            measure(runs, graph, method, sparsity, best(runs, graph, method, sparsity), seed)
    print(table(runs))


if __name__ == "__main__":
    main()
