"""`ugts analyse calibration`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING

from ugts_dist.analysis.base import Analysis, Finding
from ugts_dist.config_limits import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ugts_dist.analysis.calibration import Bin
    from ugts_dist.analysis.subject import Source


@dataclass(frozen=True)
class Calibration(Analysis):
    """Expected calibration error on the test nodes: whether confidence equals accuracy."""

    bins: int = 15
    """Bins of equal width; the paper's code uses 4."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(1 <= self.bins <= 10_000, "--bins", self.bins, "1 to 10000")

    def measure(self, source: Source) -> Callable[[], Finding]:
        from ugts_dist.analysis.calibration import calibration

        return partial(_finding, calibration(source.subject().of_classes(), self.bins))


def _finding(table: Sequence[Bin]) -> Finding:
    """The reliability table."""
    from ugts_dist.analysis.calibration import error

    rows = [
        (f"{row.low:.3f} to {row.high:.3f}", f"{row.count:,}", f"{row.confidence:.4f}", f"{row.accuracy:.4f}")
        for row in table
        if row.count
    ]
    ece = error(list(table))
    values = {"ece": ece, "bins": [_without_nan(asdict(row)) for row in table]}
    title = f"calibration error {ece:.4f} in {len(table)} bins, test nodes"
    columns = ("probability", "nodes", "mean probability", "accuracy")
    return Finding(title, columns, rows, values, partial(_draw, table=table))


def _without_nan(values: dict[str, float]) -> dict[str, float | None]:
    """JSON has no NaN."""
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def _draw(figure: Figure, table: Sequence[Bin]) -> None:
    axes = figure.subplots()
    filled = [row for row in table if row.count]
    total = sum(row.count for row in filled)
    width = 1.0 / len(table)
    axes.bar(
        [row.low for row in filled],
        [row.accuracy for row in filled],
        width,
        align="edge",
        alpha=0.7,
        edgecolor="white",
        label="accuracy",
    )
    axes.step(
        [row.low for row in table] + [1.0],
        [row.count / total for row in table] + [0.0],
        where="post",
        color="black",
        linewidth=1.0,
        label="fraction of the nodes",
    )
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", label="perfectly calibrated")
    axes.set(xlabel="largest probability", ylabel="accuracy", xlim=(0.0, 1.0), ylim=(0.0, 1.0))
    axes.legend(fontsize="small")
