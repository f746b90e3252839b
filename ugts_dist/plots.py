"""Plots as PNG, without a display and without matplotlib's global state. Import it only where a plot is drawn."""

from __future__ import annotations

import io
from typing import Any

DOTS_PER_INCH = 130


def new_plot(width: float, height: float) -> tuple[Any, Any]:
    """A figure of this size in inches, and its axes."""
    figure, axes = new_plots(width, height, 1, 1)
    return figure, axes[0, 0]


def new_plots(width: float, height: float, rows: int, columns: int, **shared: Any) -> tuple[Any, Any]:
    """A figure of this size in inches, and its axes `[rows, columns]`; `shared`: arguments of `Figure.subplots`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **shared)


def png(figure: Any, dots_per_inch: int = DOTS_PER_INCH) -> bytes:
    """The figure as a PNG; equal figures give equal bytes."""
    written = io.BytesIO()
    # Without the name and version of the program that wrote it.
    figure.savefig(written, format="png", dpi=dots_per_inch, metadata={"Software": None})
    return written.getvalue()
