"""Accuracy of sampled training on two ranks beside full-batch training on one, and of tickets beside dense networks.

    UGTS_DATA=DATA .venv/bin/python benchmarks/sampled_accuracy.py real       # Coauthor-Physics and Amazon-Computers
    .venv/bin/python benchmarks/sampled_accuracy.py norms                     # GCN's two norms, on a planted graph
    .venv/bin/python benchmarks/sampled_accuracy.py planted                   # tickets and dense on a planted graph

Each run is the program itself under torchrun. A finished run is kept and never repeated, so that an interrupted
benchmark goes on. The planted graph is made once with `ugts prepare arxiv-like`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ugts_dist.atomic import write_text
from ugts_dist.config import Config, load_preset
from ugts_dist.experiments.grid import finished, run_key
from ugts_dist.spread import Spread

RESULTS = Path(__file__).parent / "results"
METHODS = {"UGTs, sparsity 0.9": "", "dense": "-dense"}


@dataclass(frozen=True)
class Cell:
    """One number of a table, but for its seed."""

    row: str
    column: str
    preset: str
    ranks: int
    changes: Mapping[str, Any] = field(default_factory=dict)

    def config(self, seed: int) -> Config:
        return load_preset(self.preset).replace({**self.changes, "run.seed": seed})


def real() -> list[Cell]:
    """Every method on both graphs, once with all training nodes in each step and once sampled."""
    whole = {"batch.size": 0, "batch.fan_out": []}
    return [
        Cell(f"{graph}, {method}", column, f"{graph}-gcn{suffix}", ranks, changes)
        for graph in ("computers", "physics")
        for method, suffix in METHODS.items()
        for column, ranks, changes in (("full batch, 1 rank", 1, whole), ("sampled, 2 ranks", 2, {}))
    ]


def planted() -> list[Cell]:
    """The ticket with half of its weights, and the trained dense network."""
    return [
        Cell("UGTs, sparsity 0.5", "arxiv-like, sampled, 2 ranks", "arxiv-gcn", 2, {"data.name": "arxiv-like"}),
        Cell("dense", "arxiv-like, sampled, 2 ranks", "arxiv-gcn-dense", 2, {"data.name": "arxiv-like"}),
    ]


def norms() -> list[Cell]:
    """GCN with the degrees of the whole graph (an unbiased sum), and with those within the batch as in PyG."""
    shown = {"full": "degrees of the whole graph", "sampled": "degrees within the batch"}
    return [
        Cell(method, text, f"arxiv-gcn{suffix}", 2, {"data.name": "arxiv-like", "batch.norm": norm})
        for method, suffix in (("UGTs, sparsity 0.5", ""), ("dense", "-dense"))
        for norm, text in shown.items()
    ]


TABLES = {"real": real, "planted": planted, "norms": norms}


def measure(cell: Cell, seed: int, store: Path) -> dict[str, Any]:
    """The result of one run, made where it is not there yet."""
    config = cell.config(seed)
    # The number of ranks changes no batch, but the order of sums.
    store = store / f"{cell.ranks}-ranks"
    result = finished(config, store)
    if result is None:
        store.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=store))
        write_text(folder / "run.toml", config.replace({"log.to": [], "log.progress": False}).to_toml())
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={cell.ranks}"]
        program = [
            "-m",
            "ugts_dist",
            "train",
            "--config",
            str(folder / "run.toml"),
            "--run.folder",
            str(folder / "run"),
        ]
        subprocess.run([*launcher, *program], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        (folder / "run").rename(store / run_key(config))
        shutil.rmtree(folder)
        result = finished(config, store)
    assert result is not None
    return result


def table(cells: Sequence[Cell], results: Mapping[tuple[str, str], Sequence[dict[str, Any]]]) -> str:
    """Markdown: test accuracy in %, mean and deviation over seeds, and the validation accuracy behind it."""
    columns = list(dict.fromkeys(cell.column for cell in cells))
    lines = [f"| | {' | '.join(columns)} |", "| --- |" + " --- |" * len(columns)]
    for row in dict.fromkeys(cell.row for cell in cells):
        texts = [_text(results.get((row, column), ())) for column in columns]
        lines.append(f"| {row} | {' | '.join(texts)} |")
    return "\n".join(lines) + "\n"


def _text(results: Sequence[dict[str, Any]]) -> str:
    if not results:
        return "not run"
    test, valid = ([100 * float(result[name]) for result in results] for name in ("test", "valid"))
    seconds = statistics.median(float(result["seconds"]) for result in results)
    seeds = f"{len(results)} seed{'s' if len(results) > 1 else ''}"
    return f"{Spread.of(test):.1f} (validation {statistics.mean(valid):.1f}; {seeds}; {seconds:.0f} s)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--store", type=Path, default=Path("runs/sampled"), help="folder of finished runs")
    parser.add_argument("--show", action="store_true", help="print what is finished, run nothing")
    options = parser.parse_args()
    cells = TABLES[options.table]()
    results: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for seed in range(options.seeds):
        for cell in cells:
            if options.show and finished(cell.config(seed), options.store / f"{cell.ranks}-ranks") is None:
                continue
            results.setdefault((cell.row, cell.column), []).append(measure(cell, seed, options.store))
            RESULTS.mkdir(exist_ok=True)
            kept = [
                {
                    "row": row,
                    "column": column,
                    "results": [{k: v for k, v in one.items() if k != "path"} for one in of_cell],
                }
                for (row, column), of_cell in results.items()
            ]
            write_text(RESULTS / f"sampled_{options.table}.json", json.dumps(kept, indent=1))
            write_text(RESULTS / f"sampled_{options.table}.md", table(cells, results))
    print(table(cells, results))


if __name__ == "__main__":
    main()
