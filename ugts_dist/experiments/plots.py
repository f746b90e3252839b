"""Figures of studies: a diagram for each panel, a curve for each row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ugts_dist.analysis.trace import Trace
from ugts_dist.experiments.measured import Measured, title_of_figures
from ugts_dist.experiments.study import Panel, Study
from ugts_dist.plots import new_plots, png

_COLUMNS = 2  # diagrams side by side
_DOTS_PER_INCH = 110
_WIDTH = 6  # inches of each
_TRACES = {"mad": "mean average distance", "gradients": "norm of the gradient"}


def draw(study: Study, measured: Mapping[str, Measured]) -> bytes:
    """The figure of a study as a PNG: means with one deviation on either side, published figures as open circles.

    A panel without any run has no diagram; at least one panel has runs.
    """
    panels = [panel for panel in study.panels if any(measured[cell.label].values for cell in panel.cells)]
    figure, diagrams = _diagrams(len(panels))
    for axes, panel in zip(diagrams, panels, strict=True):
        _draw_panel(axes, study, panel, measured)
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2, fontsize="small")
    return png(figure, _DOTS_PER_INCH)


def draw_traces(study: Study, traces: Mapping[str, Trace]) -> bytes:
    """The same for traces of training: a diagram for each cell, a curve for each layer."""
    from matplotlib import colormaps

    shown = [cell for cell in study.cells if cell.label in traces]
    figure, diagrams = _diagrams(len(shown))
    for axes, cell in zip(diagrams, shown, strict=True):
        trace = traces[cell.label]
        looks = trace.mad if study.measure == "mad" else trace.gradients
        colors = colormaps["viridis"].resampled(len(looks[0]))
        for layer, values in enumerate(zip(*looks, strict=True)):
            axes.plot(trace.epochs, values, color=colors(layer), linewidth=1)
        axes.set(title=f"{cell.panel}: {cell.row}", xlabel="epoch", ylabel=_TRACES[study.measure])
        if study.measure == "gradients":
            axes.set_yscale("log")
        axes.grid(alpha=0.3)
    return png(figure, _DOTS_PER_INCH)


def _diagrams(count: int) -> tuple[Any, list[Any]]:
    """A figure with `count` diagrams."""
    across = min(_COLUMNS, count)
    down = -(-count // across)
    figure, grid = new_plots(_WIDTH * across, 4 * down, down, across)
    for axes in grid.flat[count:]:
        axes.remove()
    return figure, list(grid.flat[:count])


def _draw_panel(axes: Any, study: Study, panel: Panel, measured: Mapping[str, Measured]) -> None:
    places = {column: place for place, column in enumerate(study.columns)}
    labelled = set()
    for number, row in enumerate(panel.rows):
        known = [measured[cell.label] for cell in row.cells if measured[cell.label].values]
        if not known:
            continue
        color = f"C{number % 10}"
        if row.is_flat:
            (each,) = known
            axes.axhline(each.mean, color=color, linestyle="--", label=row.label)
            axes.axhspan(each.mean - each.deviation, each.mean + each.deviation, color=color, alpha=0.1)
            continue
        x = [places[each.cell.column] for each in known]
        mean, deviation = [each.mean for each in known], [each.deviation for each in known]
        axes.plot(x, mean, color=color, marker=".", label=row.label)
        low, high = ([m + sign * d for m, d in zip(mean, deviation, strict=True)] for sign in (-1, 1))
        axes.fill_between(x, low, high, color=color, alpha=0.15)
        published = [(places[f.cell.column], f.cell.published) for f in known if f.cell.published is not None]
        if published and row.published not in labelled:  # once, in the colour of the first row that reproduces it
            labelled.add(row.published)
            style = {"color": color, "marker": "o", "fillstyle": "none", "linestyle": ":"}
            axes.plot(*zip(*published, strict=True), label=f"{row.label}: published", **style)
    figures = title_of_figures(study.measure, (measured[cell.label] for cell in panel.cells), "metric")
    axes.set(title=panel.title, xlabel=study.heading, ylabel=figures)
    axes.set_xticks(list(places.values()), list(places))
    axes.grid(alpha=0.3)
