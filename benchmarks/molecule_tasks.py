"""Other sets of molecules: ogbg-molbbbp (binary), molesol and molfreesolv (regression), tickets and dense networks.

    UGTS_DATA=DATA .venv/bin/python benchmarks/molecule_tasks.py                        # 5 seeds, all three
    ... molecule_tasks.py molfreesolv --seeds 0 1
    ... molecule_tasks.py --table                                                       # what is measured so far

The presets `molbace-gcn` and `molbace-gcn-dense` on other data: GCN of 3 layers and width 448, 100 epochs of batches of
32 graphs. Learning rates and the scale of the outputs were chosen by validation with
seed 0. Test metrics, by OGB's Evaluator, are those of the
best validation epoch. Each finished run is kept in results/molecule_tasks.json and never repeated.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from pathlib import Path
from typing import Any

from ugts_dist.atomic import write_text
from ugts_dist.config import Config, load_preset
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.metrics import METRICS
from ugts_dist.spread import Spread
from ugts_dist.training.run import run

RESULTS = Path(__file__).parent / "results" / "molecule_tasks.json"
# Published test figures of GCN (Hu et al. 2020, arXiv 2005.00687, appendix).
PUBLISHED = {"molbbbp": "68.87 ± 1.51", "molesol": "1.114 ± 0.036", "molfreesolv": "2.640 ± 0.239"}
METRIC = {"molbbbp": METRICS["roc-auc"], "molesol": METRICS["rmse"], "molfreesolv": METRICS["rmse"]}
SPARSITIES: dict[str, float | None] = {"dense": None, "UGTs 0.5": 0.5, "UGTs 0.9": 0.9}
DENSE_LR = {"molbbbp": 0.001, "molesol": 0.003, "molfreesolv": 0.001}
OUTPUT_RMS = {"molbbbp": 1.0, "molesol": 0.35, "molfreesolv": 1.0}
COMMON: dict[str, Any] = {
    "batch.size": 32,
    "run.epochs": 100,
    "run.evaluate_every": 2,
    "checkpoint.keep_last": 0,
    "log.progress": False,
    "log.to": [],
}

Rows = dict[str, dict[str, float]]


def settings(data: str, network: str) -> Config:
    """A run, but for its seed."""
    sparsity = SPARSITIES[network]
    if sparsity is None:
        own: dict[str, Any] = {"optim.lr": DENSE_LR[data]}
    else:
        own = {"optim.lr": 0.003, "supermask.sparsity": sparsity, "supermask.output_rms": OUTPUT_RMS[data]}
    preset = load_preset("molbace-gcn-dense" if sparsity is None else "molbace-gcn")
    return preset.replace({**COMMON, **own, "data.name": f"ogbg-{data}"})


def measured(data: str, network: str, seed: int) -> dict[str, float]:
    """One run: validation, test, bytes of the file, seconds."""
    with tempfile.TemporaryDirectory() as folder:
        config = settings(data, network).replace({"run.seed": seed, "run.folder": f"{folder}/run"})
        result, _ = run(config, Ranks())
    return {name: getattr(result, name) for name in ("valid", "test", "bytes", "seconds")}


def table(rows: Rows) -> str:
    """Markdown: ROC-AUC in %, RMSE in the units of the targets."""
    headings = ("", "network", "metric", "validation", "test", "published, GCN", "bytes", "seeds", "seconds")
    lines = ["| " + " | ".join(headings) + " |", "|---" * len(headings) + "|"]
    for data, network in itertools.product(PUBLISHED, SPARSITIES):
        runs = [row for key, row in rows.items() if key.startswith(f"{data}/{network}/")]
        if not runs:
            continue
        metric = METRIC[data]
        scale, digits = (100, ".1f") if metric.is_fraction else (1, ".2f")
        shown = [f"{Spread.of([scale * run[part] for run in runs]):{digits}}" for part in ("valid", "test")]
        size, seconds = (sum(run[part] for run in runs) / len(runs) for part in ("bytes", "seconds"))
        cells = [f"ogbg-{data}", network, metric.title, *shown, PUBLISHED[data], f"{size:,.0f}", str(len(runs))]
        lines.append("| " + " | ".join([*cells, f"{seconds:,.0f}"]) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", default=list(PUBLISHED), help="by default all")
    parser.add_argument("--only", nargs="+", default=list(SPARSITIES), choices=list(SPARSITIES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    rows: Rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for seed, data, network in itertools.product(options.seeds, [] if options.table else options.data, options.only):
        key = f"{data}/{network}/{seed}"
        if key not in rows:
            rows[key] = measured(data, network, seed)
            write_text(RESULTS, json.dumps(rows, indent=1) + "\n")
            print(key, rows[key], flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
