"""The same network twice: built in, and as an own model made of PyG's class. Accuracy and seconds, side by side.

    UGTS_DATA=DATA .venv/bin/python benchmarks/own_models.py                 # all architectures, seeds 0 to 2
    ... own_models.py --only gcn sage --seeds 0 --batches sampled

Tickets at sparsity 0.9 of depth 2 on Amazon Computers, full batch and sampled, without dropout, with equal settings.
60 % of the nodes are for training. The order of the two is exchanged from seed to seed. Each finished pair is kept in
results/own_models.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from untuned import prepared

from ugts_dist.atomic import write_text
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.spread import Spread
from ugts_dist.training.run import run

RESULTS = Path(__file__).parent / "results" / "own_models.json"
FACTORY = f"{Path(__file__).parent / 'own_nets.py'}:build"
ARCHITECTURES = ("gcn", "sage", "gat", "gin")
WIDTH, DEPTH = 256, 2
SETTINGS: dict[str, Any] = {
    "supermask.sparsity": 0.9,
    "supermask.output_rms": 1.0,
    "optim.lr": 0.01,
    "optim.schedule": "cosine",
    "run.evaluate_every": 10,
    "checkpoint.keep_last": 0,
    "log.progress": False,
    "log.to": [],
}
BATCHES: dict[str, dict[str, Any]] = {
    "full": {"run.epochs": 60},
    "sampled": {"run.epochs": 12, "batch.size": 512, "batch.fan_out": [10, 10]},
}
BUILT_IN, OWN = "built in", "own"


def measured(store: Path, kind: str, arch: str, batches: str, seed: int) -> dict[str, float]:
    """One run: validation, test, seconds."""
    changes = {**SETTINGS, **BATCHES[batches], "data.name": str(store), "run.seed": seed, "model.depth": DEPTH}
    if kind == OWN:
        arguments = {"arch": arch, "width": WIDTH, "depth": DEPTH, "dropout": 0.0}
        changes |= {"model.factory": FACTORY, "model.args": arguments}
    else:
        changes |= {"model.arch": arch, "model.width": WIDTH}
    with tempfile.TemporaryDirectory() as folder:
        result, _ = run(Config().replace({**changes, "run.folder": f"{folder}/run"}), Ranks())
    return {"valid": result.valid, "test": result.test, "seconds": result.seconds, "bytes": result.bytes}


def table(rows: dict[str, dict[str, dict[str, float]]]) -> str:
    """Means over seeds, the difference, and the ratio of the seconds."""
    lines = [
        "| network | batches | seeds | built in: test | own: test | difference | seconds, own / built in |",
        "|---" * 7 + "|",
    ]
    for arch, batches in itertools.product(ARCHITECTURES, BATCHES):
        pairs = [pair for key, pair in rows.items() if key.startswith(f"{arch}/{batches}/")]
        if not pairs:
            continue
        tests = {kind: [100 * pair[kind]["test"] for pair in pairs] for kind in (BUILT_IN, OWN)}
        difference = statistics.mean(tests[OWN]) - statistics.mean(tests[BUILT_IN])
        ratio = statistics.median(pair[OWN]["seconds"] / pair[BUILT_IN]["seconds"] for pair in pairs)
        shown = [f"{Spread.of(tests[kind]):.1f}" for kind in (BUILT_IN, OWN)]
        cells = [arch, batches, str(len(pairs)), *shown, f"{difference:+.1f}", f"{ratio:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(ARCHITECTURES), choices=ARCHITECTURES)
    parser.add_argument("--batches", nargs="+", default=list(BATCHES), choices=list(BATCHES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    rows: dict[str, dict[str, dict[str, float]]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for seed, arch, batches in itertools.product(options.seeds, options.only, options.batches):
            key = f"{arch}/{batches}/{seed}"
            if not options.table and key not in rows:
                store = prepared("computers", Path(folder))
                order = (BUILT_IN, OWN) if seed % 2 == 0 else (OWN, BUILT_IN)
                rows[key] = {kind: measured(store, kind, arch, batches, seed) for kind in order}
                write_text(RESULTS, json.dumps(rows, indent=1) + "\n")
                print(key, rows[key], flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
