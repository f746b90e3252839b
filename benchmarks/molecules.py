"""Graph-level accuracy: tickets and trained dense networks on ogbg-molbace and ogbg-molhiv beside Table 3 of the paper.

    UGTS_DATA=DATA .venv/bin/python benchmarks/molecules.py molbace                  # 3 seeds, all sparsities
    UGTS_DATA=DATA .venv/bin/python benchmarks/molecules.py molhiv --seeds 1         # 3 sparsities
    UGTS_DATA=DATA .venv/bin/python benchmarks/molecules.py molbace molhiv --only-finished

GCN, depth 3, width 448, the presets `molbace-gcn`, `molhiv-gcn` and their dense counterparts with the sparsity and the
seed changed; test ROC-AUC by OGB's Evaluator at the best validation epoch at the target sparsity. A finished run is
kept and never repeated, so that an interrupted benchmark goes on. Table and JSON are written to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ugts_dist.config import Config, load_preset
from ugts_dist.experiments.grid import finished, run_grid
from ugts_dist.spread import Spread

TABLE3_SPARSITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
TABLE3_DENSE = {"molbace": 78.3, "molhiv": 77.4}  # published ROC-AUC in % (Huang et al. 2022, Table 3)
TABLE3 = {
    "molbace": (76.0, 73.7, 77.0, 77.1, 77.0, 77.6, 78.4, 77.3, 76.2, 75.6, 74.9),
    "molhiv": (76.4, 76.9, 76.5, 76.1, 76.3, 77.3, 75.8, 77.1, 73.1, 75.3, 75.1),
}
SPARSITIES = {  # in the order of the runs
    "molbace": (0.5, 0.9, 0.99, 0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.95),
    "molhiv": (0.5, 0.9, 0.99),
}
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Cell:
    """One cell of the table: a configuration but for its seed."""

    data: str
    sparsity: float | None  # None: the trained dense network

    def config(self, seed: int) -> Config:
        if self.sparsity is None:
            return load_preset(f"{self.data}-gcn-dense").replace({"run.seed": seed})
        return load_preset(f"{self.data}-gcn").replace({"supermask.sparsity": self.sparsity, "run.seed": seed})

    @property
    def published(self) -> float:
        if self.sparsity is None:
            return TABLE3_DENSE[self.data]
        return TABLE3[self.data][TABLE3_SPARSITIES.index(self.sparsity)]

    @property
    def label(self) -> str:
        return "trained dense" if self.sparsity is None else f"UGTs {self.sparsity}"


@dataclass(frozen=True)
class Measured:
    """A cell and its finished runs."""

    cell: Cell
    results: list[dict[str, Any]]

    def percent(self, key: str) -> str:
        """Mean and standard deviation over the seeds, in %."""
        values = [100 * result[key] for result in self.results if not math.isnan(result[key])]
        if not values:
            return "not run"
        return f"{Spread.of(values):.1f}"

    def row(self) -> str:
        seconds = f"{statistics.mean(r['seconds'] for r in self.results):.0f}" if self.results else ""
        columns = (self.percent("test"), self.percent("valid"), self.percent("test_any"), len(self.results), seconds)
        return f"| {self.cell.label} | {self.cell.published} | " + " | ".join(map(str, columns)) + " |"

    def to_dict(self) -> dict[str, Any]:
        keys = ("valid", "test", "test_any", "test_last", "sparsity", "epoch", "bytes", "seconds")
        return {**vars(self.cell), "runs": [{key: result[key] for key in keys} for result in self.results]}


def measure(data: str, args: argparse.Namespace) -> list[Measured]:
    """The cells of a dataset by sparsity: wanted ones are found or run, of the others what is found."""
    cells = [Cell(data, None), *(Cell(data, sparsity) for sparsity in SPARSITIES[data])]
    if not args.only_finished:
        wanted = [cell for cell in cells if cell.sparsity in (None, *(args.sparsities or SPARSITIES[data]))]
        configs = [cell.config(seed) for cell in wanted for seed in range(args.seeds)]
        run_grid(configs, args.store, args.workers, title=f"{data}, {len(configs)} runs")
    measured = []
    for cell in sorted(cells, key=lambda cell: -1.0 if cell.sparsity is None else cell.sparsity):
        results = [finished(cell.config(seed), args.store) for seed in range(args.seeds)]
        measured.append(Measured(cell, [result for result in results if result is not None]))
    return measured


def table(data: str, measured: list[Measured]) -> list[str]:
    """Markdown; ROC-AUC in %."""
    headings = ("", "published", "test", "validation", "test, any epoch", "seeds", "seconds a run")
    return [
        f"\n**ogbg-{data}**, GCN, depth 3, width 448, ROC-AUC in %\n",
        "| " + " | ".join(headings) + " |",
        "|---" * len(headings) + "|",
        *(each.row() for each in measured),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", choices=list(SPARSITIES))
    parser.add_argument("--seeds", type=int, default=3, help="runs a cell, with seeds 0, 1, ... (default 3)")
    parser.add_argument("--sparsities", nargs="+", type=float, help="run only these (default: all of the dataset)")
    parser.add_argument("--workers", type=int, default=1, help="processes of one thread each (default 1)")
    parser.add_argument("--store", type=Path, default=Path("runs/grid"), help="where finished runs are kept")
    parser.add_argument("--only-finished", action="store_true", help="run nothing, show what there is")
    args = parser.parse_args()
    lines: list[str] = []
    records = []
    for data in args.data:
        measured = measure(data, args)
        lines += table(data, measured)
        records += [each.to_dict() for each in measured]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "molecules.md").write_text("\n".join(lines).strip() + "\n", encoding="utf-8")
    data_text = json.dumps(records, separators=(",", ":")).replace('{"data"', '\n{"data"')
    (RESULTS / "molecules.json").write_text(data_text + "\n", encoding="utf-8")
    print("\n".join(lines))
    print(f"\nwritten to {RESULTS}/molecules.*")


if __name__ == "__main__":
    main()
