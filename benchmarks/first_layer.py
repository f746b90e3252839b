"""The first layer sampled, exact (`batch.first_layer`), and exact in bfloat16: accuracy and seconds of whole runs.

    UGTS_DATA=DATA .venv/bin/python benchmarks/first_layer.py                     # three graphs, seeds 0 to 2
    ... first_layer.py --only computers physics --seeds 0
    ... first_layer.py --table                                                    # what is measured so far

Computers and Physics: the presets with sampled batches. arxiv-structure: the networks of `arxiv_structure.py`, which
needs `ugts prepare arxiv-structure --root DATA`. Nothing is tuned for the exact first layer. The order is reversed from
seed to seed. Each finished run is kept in results/first_layer.json and never repeated.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from arxiv_structure import COMMON, NETWORKS

from ugts_dist.atomic import write_text
from ugts_dist.config import Config, load_preset
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.spread import Spread
from ugts_dist.training.run import run

RESULTS = Path(__file__).parent / "results" / "first_layer.json"
QUIET: dict[str, Any] = {"log.progress": False, "log.to": [], "checkpoint.keep_last": 0}
VARIANTS: dict[str, dict[str, Any]] = {
    "sampled": {},
    "exact": {"batch.first_layer": "exact"},
    "exact, bfloat16": {"batch.first_layer": "exact", "optim.precision": "bfloat16"},
}
PRESETS = {
    "computers, GCN, UGTs 0.9": "computers-gcn",
    "computers, GCN, dense": "computers-gcn-dense",
    "physics, GCN, UGTs 0.9": "physics-gcn",
    "physics, GCN, dense": "physics-gcn-dense",
}
LARGE = {
    "arxiv-structure, GCN, UGTs 0.5": "gcn-0.5",
    "arxiv-structure, GCN, dense": "gcn-dense",
    "arxiv-structure, SAGE, UGTs 0.5": "sage-0.5",
    "arxiv-structure, SAGE, dense": "sage-dense",
}


def settings(name: str) -> Config:
    """The run of a row, but for its seed and first layer."""
    if name in PRESETS:
        return load_preset(PRESETS[name]).replace(QUIET)
    return Config().replace({**COMMON, **NETWORKS[LARGE[name]], **QUIET})


def measured(name: str, variant: str, seed: int) -> dict[str, float]:
    """One run: validation, test, seconds."""
    with tempfile.TemporaryDirectory() as folder:
        changes = {**VARIANTS[variant], "run.seed": seed, "run.folder": f"{folder}/run"}
        result, _ = run(settings(name).replace(changes), Ranks())
    return {"valid": result.valid, "test": result.test, "seconds": result.seconds}


def table(rows: dict[str, dict[str, dict[str, float]]]) -> str:
    """Accuracy in %, mean and deviation over seeds, and the median ratio of the seconds to those of sampled runs."""
    headings = ["", "first layer", "seeds", "validation", "test", "seconds, of those sampled"]
    lines = ["| " + " | ".join(headings) + " |", "|---" * len(headings) + "|"]
    for name, variant in itertools.product((*PRESETS, *LARGE), VARIANTS):
        seeds = [runs for key, runs in rows.items() if key.startswith(f"{name}/") and variant in runs]
        if seeds:
            shown = [f"{Spread.of([100 * runs[variant][part] for runs in seeds]):.1f}" for part in ("valid", "test")]
            ratios = [runs[variant]["seconds"] / runs["sampled"]["seconds"] for runs in seeds if "sampled" in runs]
            cells = [name, variant, str(len(seeds)), *shown, f"{statistics.median(ratios):.2f}" if ratios else ""]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    names = [*PRESETS, *LARGE]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[""], help="rows whose names begin so")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    rows: dict[str, dict[str, dict[str, float]]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    wanted = [name for name in names if name.startswith(tuple(options.only))]
    for seed, name in itertools.product(options.seeds, [] if options.table else wanted):
        runs = rows.setdefault(f"{name}/{seed}", {})
        for variant in list(VARIANTS)[:: 1 if seed % 2 == 0 else -1]:
            if variant not in runs:
                runs[variant] = measured(name, variant, seed)
                write_text(RESULTS, json.dumps(rows, indent=1) + "\n")
                print(name, seed, variant, runs[variant], flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
