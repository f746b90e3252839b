"""Table, plot and JSON of accuracy against bytes; of each grid the best by mean validation metric."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from measured_files import TICKET, Point
from side_by_side import table

from ugts_dist.plots import new_plot, png
from ugts_dist.spread import Spread

# Of dense networks, the curves that are drawn: along the sparsities, or for a whole network along its kinds of values.
_DRAWN = ("whole", "pruned, float16", "pruned, tuned, float16", "pruned, tuned, int4")


@dataclass(frozen=True)
class Measured:
    """One file of one seed; `setting` is its place in the grid of the variant."""

    variant: str
    setting: str
    seed: int
    point: Point


class Row(NamedTuple):
    """A file of the best setting: mean over the seeds, and deviation of the test metric."""

    variant: str
    form: str
    sparsity: float
    bytes: float
    packed: float
    valid: float
    test: float
    deviation: float
    seeds: int
    setting: str


def write(folder: Path, name: str, measured: Sequence[Measured]) -> None:
    """NAME.md, NAME.json and NAME.png in the folder."""
    folder.mkdir(exist_ok=True)
    rows = best_rows(measured)
    header = ["variant", "file", "sparsity", "bytes", "without entropy coding", "validation", "test", "seeds"]
    lines = [
        [
            row.variant,
            row.form,
            f"{row.sparsity:.3g}",
            f"{row.bytes:,.0f}",
            f"{row.packed:,.0f}",
            f"{100 * row.valid:.1f}",
            f"{100 * row.test:.1f} ± {100 * row.deviation:.1f}",
            f"{row.seeds}",
        ]
        for row in rows
    ]
    text = table(header, lines) + "\n"
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    data = [{**asdict(m), "point": asdict(m.point)} for m in measured]
    (folder / f"{name}.json").write_text("[\n" + ",\n".join(map(json.dumps, data)) + "\n]\n", encoding="utf-8")
    _plot(folder / f"{name}.png", name, rows)
    print(text)


def best_rows(measured: Iterable[Measured]) -> list[Row]:
    """For each variant, form and sparsity, the best setting by mean validation metric, of those with most seeds."""
    groups: dict[tuple[str, str, float], dict[str, list[Point]]] = defaultdict(lambda: defaultdict(list))
    for m in measured:
        # A ticket's own sparsity differs from its target by the weights of one threshold.
        groups[m.variant, m.point.form, round(m.point.sparsity, 3)][m.setting].append(m.point)
    rows = []
    for (variant, form, sparsity), settings in groups.items():
        most = max(map(len, settings.values()))
        whole = {setting: points for setting, points in settings.items() if len(points) == most}
        setting, points = max(whole.items(), key=lambda item: statistics.mean(p.valid for p in item[1]))
        tests = [p.test for p in points]
        rows.append(
            Row(
                variant,
                form,
                sparsity,
                statistics.mean(p.bytes for p in points),
                statistics.mean(p.packed for p in points),
                statistics.mean(p.valid for p in points),
                statistics.mean(tests),
                Spread.of(tests).deviation,
                len(points),
                setting,
            )
        )
    return rows


def _plot(path: Path, title: str, rows: Sequence[Row]) -> None:
    curves: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        form = "whole" if row.form.startswith("whole") else row.form
        if form == TICKET or form in _DRAWN:
            curves[row.variant, form].append(row)
    variants = list(dict.fromkeys(variant for variant, _ in curves))
    styles = {TICKET: "-o", **dict(zip(_DRAWN, ("-s", ":x", "--^", "--v"), strict=True))}
    figure, axes = new_plot(9, 6)
    for (variant, form), points in curves.items():
        points = sorted(points, key=lambda row: row.bytes)
        axes.errorbar(
            [row.bytes for row in points],
            [100 * row.test for row in points],
            [100 * row.deviation for row in points],
            fmt=styles[form],
            color=f"C{variants.index(variant) % 10}",
            capsize=2,
            label=variant if form == TICKET else f"{variant}: {form}",
        )
    axes.set(xscale="log", xlabel="bytes of the file", ylabel="test accuracy, %", title=title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    path.write_bytes(png(figure))
