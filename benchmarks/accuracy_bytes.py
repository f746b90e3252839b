"""Accuracy against bytes: tickets, and what one would do to a trained dense network instead.

    UGTS_DATA=DATA .venv/bin/python benchmarks/accuracy_bytes.py --preset cora-gcn
    ... --variant "UGTs, width 64" model.width=64 --grid optim.lr=0.01,0.003       # one more curve; more settings

Table, plot and JSON are in benchmarks/accuracy_bytes/. Tickets are found at each sparsity. A dense network (the preset
with -dense after its name) is trained, pruned by magnitude (one threshold over all layers), with and without epochs
of training after it, and kept as float32, float16, and integers of 8 and 4 bits with a scale for each row (see
small_dense.py). Every file is written, read back and measured exactly. A field with several values makes a grid, of
which the best by mean validation metric is shown, for each curve and sparsity by itself. A cell that is finished is
kept in the store, so that an interrupted benchmark goes on.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bytes_report
import measured_files
from measured_files import Pruning

from ugts_dist.config import Config, load_preset
from ugts_dist.experiments.grid import for_each, refuse_finished_on_other_data

RESULTS = Path(__file__).parent / "accuracy_bytes"
Choices = dict[str, list[Any]]  # the values of each field that is varied

VARIANTS: dict[str, Choices] = {
    "UGTs": {},
    "Edge-Popup": {"supermask.method": ["edge-popup"]},
    "dense": {"supermask.method": ["dense"]},
    "dense, width 16": {"supermask.method": ["dense"], "model.width": [16]},
}


@dataclass(frozen=True)
class Cell:
    """One point of a curve's grid: the configuration but for its seed."""

    variant: str
    changes: dict[str, Any]
    base: Config

    def config(self, seed: int) -> Config:
        return self.base.replace({**self.changes, "run.seed": seed})


def cells(options: argparse.Namespace) -> Iterator[Cell]:
    """The whole grid of every variant."""
    ticket, dense = (load_preset(f"{options.preset}{suffix}") for suffix in ("", "-dense"))
    for name, own in options.variants.items():
        choices = {**options.grid, **own}
        is_dense = choices.get("supermask.method") == ["dense"]
        if not is_dense:
            choices["supermask.sparsity"] = options.sparsities
        for values in itertools.product(*choices.values()):
            changes = {**dict(zip(choices, values, strict=True)), **options.set}
            yield Cell(name, changes, dense if is_dense else ticket)


def main() -> None:
    options = _arguments()
    settings = Pruning(tuple(options.sparsities), options.tune_epochs)
    grid = list(cells(options))
    if not options.only_finished:
        todo = [cell.config(seed) for cell in grid for seed in options.seeds]
        refuse_finished_on_other_data(todo, options.store)
        task = functools.partial(measured_files.measure, pruning=settings)
        for_each(task, todo, options.store, options.workers, f"{len(todo)} cells")
    measured = []
    for cell in grid:
        files = [(seed, measured_files.known(cell.config(seed), options.store, settings)) for seed in options.seeds]
        for seed, points in files:
            shown = {key: value for key, value in cell.changes.items() if key != "supermask.method"}
            measured += [bytes_report.Measured(cell.variant, json.dumps(shown), seed, point) for point in points or ()]
    bytes_report.write(RESULTS, options.name or options.preset, measured)


def _field(text: str) -> tuple[str, list[Any]]:
    """A field and its values, as in optim.lr=0.01,0.003."""
    name, _, values = text.partition("=")
    if "." not in name or not values:
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: section.field=value[,value]")
    return name, [_value(value) for value in values.split(",")]


def _value(text: str) -> Any:
    """A number or truth value, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


class _AddVariant(argparse.Action):
    """NAME and fields: a curve more."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        name, *fields = values
        try:
            namespace.variants = {**namespace.variants, name: dict(map(_field, fields))}
        except argparse.ArgumentTypeError as error:
            parser.error(f"--variant {error}")


def _arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", required=True, help="of the tickets; the dense network's is called -dense")
    parser.add_argument("--name", default="", help="of the result's files; the preset's name without this")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sparsities", type=float, nargs="+", default=[0.5, 0.9, 0.95, 0.99])
    parser.add_argument("--tune-epochs", type=int, default=100, help="of training after pruning")
    parser.add_argument("--set", type=_field, nargs="+", default=[], metavar="FIELD=VALUE", help="in all runs")
    parser.add_argument("--grid", type=_field, nargs="+", default=[], metavar="FIELD=VALUES", help="of all variants")
    parser.add_argument(
        "--variant",
        dest="variants",
        nargs="+",
        action=_AddVariant,
        default=VARIANTS,
        metavar=("NAME", "FIELD=VALUES"),
        help=f"one more curve, beside {', '.join(VARIANTS)}",
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these curves alone")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--store", type=Path, default=Path("runs/accuracy_bytes"), help="where cells are kept")
    parser.add_argument("--only-finished", action="store_true", help="run nothing, show what there is")
    options = parser.parse_args(words)
    unknown = [name for name in options.only if name not in options.variants]
    if unknown:
        parser.error(f"--only {unknown[0]!r}; allowed are {', '.join(options.variants)}")
    options.variants = {name: options.variants[name] for name in options.only or options.variants}
    options.grid = dict(options.grid)
    options.set = {name: values[0] for name, values in options.set}
    return options


if __name__ == "__main__":
    main()
