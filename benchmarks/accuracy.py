"""Accuracy of tickets on real graphs: the sparsity sweep on Cora and Citeseer, an ablation.

    UGTS_DATA=DATA .venv/bin/python benchmarks/accuracy.py sweep     # tables, JSON and a plot in benchmarks/results/
    UGTS_DATA=DATA .venv/bin/python benchmarks/accuracy.py ablation

Every run is a preset of the program with the sparsity, method and seed changed; the test accuracy is that of the
best validation epoch at the target sparsity. A finished run is kept and never repeated, so that an interrupted
sweep goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ugts_dist.config import Config, load_preset
from ugts_dist.experiments.grid import finished, run_grid
from ugts_dist.plots import new_plots, png
from ugts_dist.spread import Spread

GRAPHS = ("cora", "citeseer")
ARCHS = ("gcn", "gat", "gin")
SPARSITIES = (0.1, 0.5, 0.9, 0.95, 0.99)
SETTINGS = {"ours": "", "plain": "-paper"}  # the suffix of the preset
ABLATIONS: dict[str, dict[str, Any]] = {  # what is taken away from our presets
    "nothing": {},
    "calibration": {"supermask.calibrate": False},
    "rescaling": {"supermask.rescale": False},
    "small logits (output_rms 1)": {"supermask.output_rms": 1.0},
    "uniform attention (attention_rms 1)": {"supermask.attention_rms": 1.0},
    "constant magnitude (kaiming-uniform)": {"supermask.weight_init": "kaiming-uniform"},
    "dropout": {"model.dropout": 0.0},
    "weight decay of the scores": {"optim.weight_decay": 0.0},
}
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Cell:
    """One cell of a table: a configuration but for its seed."""

    preset: str
    method: str
    sparsity: float
    without: str = "nothing"

    def config(self, seed: int) -> Config:
        changes = {"supermask.method": self.method, "supermask.sparsity": self.sparsity, "run.seed": seed}
        return load_preset(self.preset).replace({**changes, **ABLATIONS[self.without]})


@dataclass(frozen=True)
class Measured:
    """Mean and deviation of a cell's test accuracy over its seeds, and what else its runs tell."""

    cell: Cell
    results: list[dict[str, Any]]
    seeds: int

    def mean(self, key: str = "test") -> float:
        return statistics.mean(result[key] for result in self.results) if self.results else math.nan

    def deviation(self, key: str = "test") -> float:
        return Spread.of([result[key] for result in self.results]).deviation if self.results else 0.0

    def __str__(self) -> str:
        if not self.results:
            return "not run"
        few = "" if len(self.results) == self.seeds else f" ({len(self.results)} of {self.seeds})"
        return f"{100 * self.mean():.1f} ± {100 * self.deviation():.1f}{few}"

    def to_dict(self) -> dict[str, Any]:
        keys = ("valid", "test", "test_any", "test_last", "sparsity", "epoch", "bytes", "seconds")
        return {**vars(self.cell), "runs": [{key: result[key] for key in keys} for result in self.results]}


def measure(cells: Sequence[Cell], args: argparse.Namespace) -> dict[Cell, Measured]:
    """All cells with all seeds, found or run; with `--only-finished` those that are found."""
    configs = {cell: [cell.config(seed) for seed in range(args.seeds)] for cell in cells}
    if not args.only_finished:
        todo = [config for group in configs.values() for config in group]
        run_grid(todo, args.store, args.workers, title=f"{len(todo)} runs")
    by_cell = {cell: [finished(config, args.store) for config in group] for cell, group in configs.items()}
    return {
        cell: Measured(cell, [r for r in results if r is not None], args.seeds) for cell, results in by_cell.items()
    }


def sweep(args: argparse.Namespace) -> None:
    """Graphs x architectures x sparsities x {UGTs, Edge-Popup} x {ours, plain}, and the dense network."""
    dense = {(g, a): Cell(f"{g}-{a}-dense", "dense", 0.0) for g in GRAPHS for a in ARCHS}
    rows = {
        (g, a, method, setting): [Cell(f"{g}-{a}{suffix}", method, s) for s in SPARSITIES]
        for setting, suffix in SETTINGS.items()
        for method in ("ugts", "edge-popup")
        for g in GRAPHS
        for a in ARCHS
    }
    measured = measure([*dense.values(), *(cell for row in rows.values() for cell in row)], args)
    lines = []
    for (g, a), dense_cell in dense.items():
        lines += [f"\n**{g}, {a.upper()}** (trained dense: {measured[dense_cell]})\n", _row("", *SPARSITIES)]
        lines.append(_row("---", *["---"] * len(SPARSITIES)))
        for (graph, arch, method, setting), cells in rows.items():
            if (graph, arch) == (g, a):
                name = {"ugts": "UGTs", "edge-popup": "Edge-Popup"}[method]
                lines.append(_row(f"{name}, {setting}", *(measured[cell] for cell in cells)))
    _write("sweep", lines, measured)
    _plot(measured, dense, rows)


def ablation(args: argparse.Namespace) -> None:
    """What each of our choices does: validation and test accuracy without it, Cora."""
    columns = [(f"cora-{arch}", sparsity) for arch in ("gcn", "gat") for sparsity in (0.9, 0.99)]
    rows = {name: [Cell(preset, "ugts", s, name) for preset, s in columns] for name in ABLATIONS}
    measured = measure([cell for row in rows.values() for cell in row], args)
    lines = [_row("without", *(f"{preset} {s}: validation; test" for preset, s in columns))]
    lines.append(_row("---", *["---"] * len(columns)))
    for name, cells in rows.items():
        lines.append(_row(name, *(f"{100 * measured[cell].mean('valid'):.1f}; {measured[cell]}" for cell in cells)))
    _write("ablation", lines, measured)


def _row(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _write(name: str, lines: list[str], measured: dict[Cell, Measured]) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = json.dumps([value.to_dict() for value in measured.values()], separators=(",", ":"))
    (RESULTS / f"{name}.json").write_text(data.replace('{"preset"', '\n{"preset"') + "\n", encoding="utf-8")
    print("\n".join(lines))
    print(f"\nwritten to {RESULTS}/{name}.*")


def _plot(
    measured: dict[Cell, Measured],
    dense: dict[tuple[str, str], Cell],
    rows: dict[tuple[str, str, str, str], list[Cell]],
) -> None:
    shape = (len(GRAPHS), len(ARCHS))
    figure, axes = new_plots(12, 6, *shape, sharex=True, sharey="row")
    style = {"ours": "-", "plain": ":"}
    colour = {"ugts": "tab:blue", "edge-popup": "tab:orange"}
    for i, g in enumerate(GRAPHS):
        for j, a in enumerate(ARCHS):
            plot = axes[i][j]
            plot.axhline(100 * measured[dense[g, a]].mean(), color="black", linewidth=1, label="trained dense")
            for (graph, arch, method, setting), cells in rows.items():
                if (graph, arch) == (g, a):
                    plot.errorbar(
                        range(len(cells)),
                        [100 * measured[cell].mean() for cell in cells],
                        [100 * measured[cell].deviation() for cell in cells],
                        linestyle=style[setting],
                        color=colour[method],
                        marker="o",
                        capsize=2,
                        label=f"{'UGTs' if method == 'ugts' else 'Edge-Popup'}, {setting}",
                    )
            plot.set_title(f"{g}, {a.upper()}")
            plot.set_xticks(range(len(SPARSITIES)), [str(s) for s in SPARSITIES])
    axes[-1][0].set(xlabel="sparsity", ylabel="test accuracy, %")
    axes[0][-1].legend(fontsize=8)
    (RESULTS / "sweep.png").write_bytes(png(figure))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["sweep", "ablation"])
    parser.add_argument("--seeds", type=int, default=5, help="runs a cell, with seeds 0, 1, ... (default 5)")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each (default 2)")
    parser.add_argument("--store", type=Path, default=Path("runs/grid"), help="where finished runs are kept")
    parser.add_argument("--only-finished", action="store_true", help="run nothing, show what there is")
    args = parser.parse_args()
    {"sweep": sweep, "ablation": ablation}[args.what](args)


if __name__ == "__main__":
    main()
