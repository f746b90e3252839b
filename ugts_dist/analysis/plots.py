"""Figures of values by layer, once and over training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ugts_dist.analysis.trace import Trace

MAD, GRADIENT = "mean cosine distance (MAD)", "gradient norm"
_MOST_IN_LEGEND = 10  # layers of a deep network in the legend


def spread(count: int, most: int) -> list[int]:
    """At most `most` of the numbers from 0 to count - 1, including both ends."""
    numbers: list[int] = np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()
    return numbers


def draw_by_layer(figure: Figure, values: Mapping[str, float], label: str, logarithmic: bool) -> None:
    """Draw a line over the layers, logarithmic if every value allows it."""
    axes = figure.subplots()
    axes.plot(range(len(values)), list(values.values()), marker="o")
    axes.set_xticks(range(len(values)), list(values), rotation=90 if len(values) > 12 else 0)
    axes.set(xlabel="layer", ylabel=label)
    if logarithmic and all(value > 0 for value in values.values()):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0.0)
    axes.grid(alpha=0.3)


def draw_trace(figure: Figure, trace: Trace) -> None:
    """Draw MAD and gradient norms side by side, a line per layer."""
    figure.set_size_inches(11.2, 4.2)
    left, right = figure.subplots(1, 2)
    _draw_lines(left, trace.epochs, trace.mad, trace.layers, MAD)
    _draw_lines(right, trace.epochs, trace.gradients, trace.weights, GRADIENT)
    if all(value > 0 for row in trace.gradients for value in row):
        right.set_yscale("log")


def _draw_lines(
    axes: Axes, epochs: Sequence[int], values: Sequence[Sequence[float]], names: Sequence[str], label: str
) -> None:
    """Draw a line per layer, from dark to light. If there are many, only some are named."""
    colours = colormaps["viridis"](np.linspace(0.0, 0.9, len(names)))
    named = spread(len(names), _MOST_IN_LEGEND)
    for k, name in enumerate(names):
        text = f"layer {name}" if name.isdigit() else name
        axes.plot(epochs, [row[k] for row in values], color=colours[k], label=text if k in named else None)
    axes.set(xlabel="epoch", ylabel=label)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.grid(alpha=0.3)
