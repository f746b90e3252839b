"""Texas, where labels are few: tickets beside the trained dense network on the ten splits of the Geom-GCN files.

    UGTS_DATA=DATA .venv/bin/python benchmarks/texas.py                                   # by the rules of `ugts train`
    ... texas.py --only ticket --set run.epochs=200                                       # with a field changed
    ... texas.py --table                                                                  # what is measured so far

Sparsity 0.9, one seed a split. Each finished run is kept in results/texas.json and never repeated.
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
from ugts_dist.training.run import fit_settings, run

RESULTS = Path(__file__).parent / "results" / "texas.json"
QUIET = {"log.progress": False, "log.to": [], "checkpoint.keep_last": 0}
METHODS = {"dense": "dense", "ticket": "ugts"}
SPLITS = range(10)


def measured(split: int, kind: str, changes: dict[str, Any]) -> dict[str, float]:
    """One run by the rules, but for what is changed."""
    asked = {**QUIET, "data.name": "texas", "data.split": split, "supermask.method": METHODS[kind], **changes}
    chosen, _ = fit_settings(Config().replace(asked), Ranks(), asked)
    with tempfile.TemporaryDirectory() as folder:
        result, _ = run(chosen.replace({"run.folder": f"{folder}/run"}), Ranks())
    return {"valid": result.valid, "test": result.test, "seconds": round(result.seconds, 1)}


def table(rows: dict[str, dict[str, dict[str, float]]]) -> str:
    lines = ["| network | splits | validation | test | seconds a run |", "|---" * 5 + "|"]
    for name, runs in rows.items():
        shown = [f"{Spread.of([100 * one[kind] for one in runs.values()]):.1f}" for kind in ("valid", "test")]
        seconds = statistics.median(one["seconds"] for one in runs.values())
        lines.append(f"| {name} | {len(runs)} | {shown[0]} | {shown[1]} | {seconds:.0f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(METHODS))
    parser.add_argument("--set", nargs="+", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    changes = {name: json.loads(value) for name, value in (pair.split("=", 1) for pair in options.set)}
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for kind in METHODS:
        if options.table or options.only not in (None, kind):
            continue
        runs = rows.setdefault(" ".join([kind, *options.set]), {})
        for split in SPLITS:
            if str(split) not in runs:
                runs[str(split)] = measured(split, kind, changes)
                write_text(RESULTS, json.dumps(rows, indent=1) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
