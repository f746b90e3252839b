"""Plots of a report, as PNG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ugts_dist.plots import new_plot, png
from ugts_dist.terminal import escaped

Curve = tuple[Sequence[float], Sequence[float]]

_MOST_BARS = 120
_COLORS = 10
_STROKES = ("-", "--", ":", "-.")


def curves(lines: Mapping[str, Curve], ylabel: str, best: float | None = None) -> bytes:
    """Lines over epochs, with their names if there are several, and a mark at the best epoch, if known."""
    figure, axes = new_plot(5.0, 3.2)
    for name, (epochs, values) in lines.items():
        # A single point has no line.
        axes.plot(epochs, values, linewidth=1.4, marker="." if len(epochs) == 1 else "", label=name)
    if best is not None:
        axes.axvline(best, color="black", linestyle="--", linewidth=1, label=f"best epoch, {best:g}")
    axes.set(xlabel="epoch", ylabel=ylabel)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if len(lines) > 1 or best is not None:
        axes.legend(fontsize="small")
    return png(figure)


def compared(lines: Mapping[str, Curve], ylabel: str) -> bytes:
    """Lines over epochs, with their names below. The colours of further lines are repeated with other strokes."""
    figure, axes = new_plot(8.0, 4.5 + 0.1 * len(lines))
    for place, (name, (epochs, values)) in enumerate(lines.items()):
        marker = "." if len(epochs) == 1 else ""
        # matplotlib leaves names that begin with an underscore out of a legend.
        label = _literal(name) if not name.startswith("_") else f" {_literal(name)}"
        stroke = _STROKES[place // _COLORS % len(_STROKES)]
        axes.plot(
            epochs, values, linewidth=1.4, color=f"C{place % _COLORS}", linestyle=stroke, marker=marker, label=label
        )
    axes.set(xlabel="epoch", ylabel=_literal(ylabel))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, fontsize="small")
    return png(figure)


def bars(values: Mapping[str, float], xlabel: str, mean: float) -> bytes:
    """A bar for each name, the first on top, and a line at the mean. Of very many names only the first are shown."""
    shown = dict(list(values.items())[:_MOST_BARS])
    figure, axes = new_plot(6.0, min(1.2 + 0.26 * len(shown), 40.0))
    axes.barh(range(len(shown)), list(shown.values()), color="C0")
    axes.axvline(mean, color="black", linestyle="--", linewidth=1, label=f"of all weights, {mean:.4f}")
    axes.set_yticks(range(len(shown)), [_literal(name) for name in shown], fontsize="small")
    axes.set(xlabel=xlabel, ylim=(len(shown) - 0.4, -0.6))
    axes.legend(fontsize="small")
    return png(figure)


def points(groups: Mapping[str, Curve], xlabel: str, ylabel: str) -> bytes:
    """Dots with a colour for each group."""
    figure, axes = new_plot(6.0, 4.0)
    for name, (x, y) in groups.items():
        axes.plot(x, y, linestyle="", marker="o", markersize=4, label=_literal(name))
    axes.set(xlabel=xlabel, ylabel=_literal(ylabel))
    axes.legend(fontsize="small")
    return png(figure)


def finite(epochs: Sequence[float], values: Sequence[float]) -> Curve:
    """The points that can be drawn: a threshold is minus infinity if nothing is masked."""
    kept = [(x, y) for x, y in zip(epochs, values, strict=True) if math.isfinite(x) and abs(y) < 1e300]
    return [x for x, _ in kept], [y for _, y in kept]


def _literal(name: str) -> str:
    """A name that matplotlib does not read as a formula, shortened."""
    return escaped(name if len(name) <= 40 else f"...{name[-37:]}").replace("$", r"\$")
