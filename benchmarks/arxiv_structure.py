"""Tickets beside the trained dense network on a large graph: OGBN-Arxiv's edges, labels and time split.

    ugts prepare arxiv-structure --root DATA                    # once; see `ugts prepare --help`
    .venv/bin/python benchmarks/arxiv_structure.py              # every network, seed 0; minutes to an hour each
    ... arxiv_structure.py --only gcn-dense gcn-0.5 --seeds 0 1 2
    ... arxiv_structure.py --table                              # what is measured so far

Features are made of the edges (singular vectors), with standardised columns. 36 epochs of sampled batches of 1,024
seeds, cosine decay; rates, logits and widths were chosen by validation accuracy with seed 0. Each finished run is kept
in results/arxiv_structure.json and never repeated.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from ugts_dist.atomic import write_text
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.spread import Spread
from ugts_dist.terminal import log_to_stderr
from ugts_dist.training.run import run

RESULTS = Path(__file__).parent / "results" / "arxiv_structure.json"
COMMON = {
    "data.name": "arxiv-structure",
    "data.features": "standardize",
    "batch.size": 1024,
    "batch.fan_out": [15, 10],
    "optim.schedule": "cosine",
    "run.epochs": 36,
    "run.evaluate_every": 6,
    "checkpoint.keep_last": 0,
    "log.to": [],
}
DENSE = {"supermask.method": "dense", "optim.lr": 0.003, "model.width": 256}
TICKET = {"optim.lr": 0.03, "supermask.ramp": 0.25, "supermask.weight_init": "balanced"}
GCN = {**TICKET, "model.arch": "gcn", "supermask.output_rms": 10.0}
SAGE = {**TICKET, "model.arch": "sage", "supermask.output_rms": 5.0}
NETWORKS: dict[str, dict[str, Any]] = {
    "gcn-dense": {**DENSE, "model.arch": "gcn"},
    "gcn-0.5": {**GCN, "model.width": 1024, "supermask.sparsity": 0.5},
    "gcn-0.9": {**GCN, "model.width": 2048, "supermask.sparsity": 0.9},
    "sage-dense": {**DENSE, "model.arch": "sage"},
    "sage-0.5": {**SAGE, "model.width": 1024, "supermask.sparsity": 0.5},
    "sage-0.9": {**SAGE, "model.width": 1024, "supermask.sparsity": 0.9},
    "sage-0.9-wide": {**SAGE, "model.width": 3072, "supermask.sparsity": 0.9, "optim.lr": 0.01},
    "gat-dense": {**DENSE, "model.arch": "gat"},
    "gat-0.5": {**GCN, "model.arch": "gat", "model.width": 1024, "supermask.sparsity": 0.5},
    "gat-0.9": {**GCN, "model.arch": "gat", "model.width": 1024, "supermask.sparsity": 0.9},
    "gcn-0.95": {**GCN, "model.width": 2048, "supermask.sparsity": 0.95},
    "gcn-0.99": {**GCN, "model.width": 2048, "supermask.sparsity": 0.99},
    "sage-0.95": {**SAGE, "model.width": 2048, "supermask.sparsity": 0.95, "optim.lr": 0.01},
    "sage-0.99": {**SAGE, "model.width": 2048, "supermask.sparsity": 0.99, "optim.lr": 0.01},
}

Rows = dict[str, dict[str, dict[str, float]]]


def measured(network: str, seed: int) -> dict[str, float]:
    """One run: accuracy, bytes of the file, seconds."""
    with tempfile.TemporaryDirectory() as folder:
        changes = {**COMMON, **NETWORKS[network], "run.seed": seed, "run.folder": f"{folder}/run"}
        result, _ = run(Config().replace(changes), Ranks())
    return {name: getattr(result, name) for name in ("valid", "test", "bytes", "seconds")}


def table(rows: Rows) -> str:
    """Mean and spread over seeds, and the file's size as a part of the dense one's."""
    lines = ["| network | width | seeds | validation | test | bytes | of the dense file | seconds |", "|---" * 8 + "|"]
    for network, runs in rows.items():
        if not runs:
            continue
        shown = (f"{Spread.of([100 * one[name] for one in runs.values()]):.1f}" for name in ("valid", "test"))
        size = statistics.mean(one["bytes"] for one in runs.values())
        dense = rows.get(f"{network.partition('-')[0]}-dense", {})
        part = f"1 / {statistics.mean(one['bytes'] for one in dense.values()) / size:.1f}" if dense else ""
        seconds = statistics.median(one["seconds"] for one in runs.values())
        cells = [network, str(NETWORKS[network]["model.width"]), str(len(runs)), *shown, f"{size:,.0f}", part]
        lines.append("| " + " | ".join([*cells, f"{seconds:,.0f}"]) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    log_to_stderr()
    rows: Rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for network in [] if options.table else options.only:
        for seed in options.seeds:
            runs = rows.setdefault(network, {})
            if str(seed) not in runs:
                runs[str(seed)] = measured(network, seed)
                write_text(RESULTS, json.dumps(rows, indent=1) + "\n")
                print(network, seed, runs[str(seed)], flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
