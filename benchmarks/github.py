"""A rare class on a real graph: MUSAE GitHub (37,700 developers, a quarter in one class), ROC-AUC and F1.

    UGTS_DATA=DATA .venv/bin/python benchmarks/github.py --seeds 0 1 2
    ... github.py --table                                                   # what is measured so far

Settings by the rules of `ugts train`; 60 % of the nodes for training, 20 % each for validation and test. The best epoch
is chosen by validation ROC-AUC. F1 is scikit-learn's, macro and that of the rare class, of the classes that
`ugts predict` writes, with and without balanced class weights. Each finished run is kept in results/github.json and
never repeated.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow import parquet
from sklearn.metrics import f1_score
from untuned import prepared

from ugts_dist.atomic import write_text
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.graphs.store import open_store
from ugts_dist.spread import Spread
from ugts_dist.tickets.options import PredictOptions
from ugts_dist.tickets.predict import predict
from ugts_dist.training.run import fit_settings, run

RESULTS = Path(__file__).parent / "results" / "github.json"
NETWORKS: dict[str, dict[str, Any]] = {"dense": {"supermask.method": "dense"}, "UGTs 0.9": {"supermask.sparsity": 0.9}}
WEIGHTS = ("none", "balanced")
QUIET = {"log.progress": False, "log.to": [], "checkpoint.keep_last": 0}
MEASURES = ("valid", "test", "f1_macro", "f1_rare")


def measured(store: Path, changes: dict[str, Any]) -> dict[str, float]:
    """One run: ROC-AUC of validation and test, F1 of test, bytes and seconds."""
    config = Config().replace({**QUIET, **changes, "data.name": str(store), "task.metric": "roc-auc"})
    chosen, _ = fit_settings(config, Ranks(), [*changes, "data.name", "task.metric"])
    with tempfile.TemporaryDirectory() as folder:
        result, place = run(chosen.replace({"run.folder": f"{folder}/run"}), Ranks())
        out = Path(folder, "predicted.parquet")
        predict(PredictOptions(str(place), str(out)), Ranks())
        predicted = parquet.read_table(out)["prediction"].to_numpy()
    graph = open_store(store)
    nodes = graph.test.numpy()
    y = graph.y.numpy()[nodes]
    return {
        "valid": result.valid,
        "test": result.test,
        "f1_macro": float(f1_score(y, predicted[nodes], average="macro")),
        "f1_rare": float(f1_score(y, predicted[nodes], pos_label=int(np.bincount(y).argmin()))),
        "bytes": result.bytes,
        "seconds": result.seconds,
    }


def table(rows: dict[str, dict[str, float]]) -> str:
    lines = [
        "| network | class weights | seeds | ROC-AUC, validation | ROC-AUC, test | macro F1 | F1 of the rare class "
        "| bytes | seconds |",
        "|---" * 9 + "|",
    ]
    for network, weights in itertools.product(NETWORKS, WEIGHTS):
        runs = [row for key, row in rows.items() if key.startswith(f"{network}/{weights}/")]
        if runs:
            cells = [f"{Spread.of([100 * run[name] for run in runs]):.1f}" for name in MEASURES]
            size, seconds = (float(np.median([run[name] for run in runs])) for name in ("bytes", "seconds"))
            shown = [network, weights, str(len(runs)), *cells, f"{size:,.0f}", f"{seconds:,.0f}"]
            lines.append("| " + " | ".join(shown) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    rows: dict[str, dict[str, float]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for weights, seed, network in itertools.product(WEIGHTS, options.seeds, NETWORKS):
            key = f"{network}/{weights}/{seed}"
            if not options.table and key not in rows:
                changes = {**NETWORKS[network], "task.class_weight": weights, "run.seed": seed}
                rows[key] = measured(prepared("github", Path(folder)), changes)
                write_text(RESULTS, json.dumps(rows, indent=1) + "\n")
                print(key, rows[key], flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
