"""The demonstration: dense network, Edge-Popup and UGTs on the embedded graph, one table and one plot."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from ugts_dist.atomic import write_file, write_text
from ugts_dist.checkpointing.folder_names import new_folder
from ugts_dist.config import Config, load_preset
from ugts_dist.console import new_table, output
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.methods import METHODS
from ugts_dist.plots import new_plot, png
from ugts_dist.terminal import say
from ugts_dist.training.run import run

SPARSITIES = (0.5, 0.9, 0.99)
TICKETS = ("edge-popup", "ugts")


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    method: str
    target: float
    test: float
    sparsity: float
    bytes: int


def run_demo(folder: str, seed: int, ranks: Ranks) -> None:
    """Seven runs, one after another on all ranks; a table on the terminal, and `accuracy.png` in the folder."""
    place = Path(
        ranks.broadcast_text(ranks.raise_together(lambda: str(new_folder(folder, "demo")) if ranks.is_main else ""))
    )
    rows = [_measure(config, place, ranks) for config in _configs(seed)]
    if not ranks.is_main:
        return
    write_text(place / "table.json", json.dumps([vars(row) for row in rows], indent=1))
    output().print(_table(rows, ranks.world_size))
    _plot(rows, place / "accuracy.png")
    say(f"run folder {place}")
    say(f"plot       {place / 'accuracy.png'}")


def _configs(seed: int) -> list[Config]:
    base = load_preset("digits").replace({"run.seed": seed, "log.to": []})
    dense = base.replace({"supermask.method": "dense", "optim.weight_decay": 5e-4})
    return [
        dense,
        *(
            base.replace({"supermask.method": method, "supermask.sparsity": sparsity})
            for method in TICKETS
            for sparsity in SPARSITIES
        ),
    ]


def _measure(config: Config, place: Path, ranks: Ranks) -> Row:
    result, _ = run(config.replace({"run.folder": str(place / config.label)}), ranks)
    return Row(config.supermask.method, config.supermask.sparsity, result.test, result.sparsity, result.bytes)


def _table(rows: list[Row], world_size: int) -> Table:
    title = f"handwritten digits, GCN, mini-batches on {world_size} rank(s)"
    table = new_table(title, ("", "test accuracy", "sparsity", "bytes", "of the dense file"))
    dense = rows[0].bytes
    for row in rows:
        label = _label(row.method)
        share = f"{row.bytes / dense:.1%}"
        table.add_row(label, f"{row.test:.3f}", f"{row.sparsity:.4f}", f"{row.bytes:,}", share)
    return table


def _label(method: str) -> str:
    return METHODS[method].title if METHODS[method].masks else "trained dense"


def _plot(rows: list[Row], path: Path) -> None:
    figure, axes = new_plot(6, 4)
    axes.axhline(rows[0].test, color="black", linestyle="--", label=_label("dense"))
    for method in TICKETS:
        points = [(row.target, row.test) for row in rows if row.method == method]
        axes.plot(*zip(*points, strict=True), marker="o", label=_label(method))
    axes.set(xlabel="sparsity", ylabel="test accuracy", title="Tickets with untrained weights, digits")
    axes.legend()
    write_file(path, png(figure))
