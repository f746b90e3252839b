"""`ugts analyse robustness`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING

from ugts_dist.analysis.base import Analysis, Finding
from ugts_dist.config_limits import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ugts_dist.analysis.robustness import Noise, UnderNoise
    from ugts_dist.analysis.subject import Source


@dataclass(frozen=True)
class Robustness(Analysis):
    """Test accuracy when the graph gets noise after training.

    For noise before training, train with `--data.feature-noise` or `--data.edge-noise`.
    """

    fractions: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4)
    """Fractions of the nodes outside the training set, and of the edges, that are changed."""
    draws: int = 3
    """Draws of the noise, from seeds 0, 1, ..."""

    def __post_init__(self) -> None:
        super().__post_init__()
        ok = bool(self.fractions) and all(0.0 <= part <= 1.0 for part in self.fractions)
        require(ok, "--fractions", list(self.fractions), "one or more numbers in [0, 1]")
        require(self.draws >= 1, "--draws", self.draws, "1 or more")

    def measure(self, source: Source) -> Callable[[], Finding]:
        from ugts_dist.analysis.robustness import NOISES, under_noise, without_noise

        clean = without_noise(source.subject().of_classes())
        return partial(finding, {noise: under_noise(clean, noise, self.fractions, self.draws) for noise in NOISES})


def finding(measured: Mapping[Noise, Sequence[UnderNoise]]) -> Finding:
    """Test accuracy by noise."""
    (first, *_) = measured.values()
    rows = [
        (f"{row.fraction:.0%}", *(f"{by[i].mean:.4f} ± {by[i].deviation:.4f}" for by in measured.values()))
        for i, row in enumerate(first)
    ]
    values = {
        str(noise): [{**asdict(row), "mean": row.mean, "deviation": row.deviation} for row in by]
        for noise, by in measured.items()
    }
    columns = ("changed", *(f"accuracy, noise in {noise}" for noise in measured))
    title = "test accuracy with noise after training"
    return Finding(title, columns, rows, values, partial(_draw, measured=measured))


def _draw(figure: Figure, measured: Mapping[Noise, Sequence[UnderNoise]]) -> None:
    axes = figure.subplots()
    for noise, rows in measured.items():
        x, y = [100 * row.fraction for row in rows], [row.mean for row in rows]
        axes.errorbar(x, y, [row.deviation for row in rows], marker="o", capsize=3, label=f"noise in {noise}")
    axes.set(xlabel="nodes or edges that are changed, %", ylabel="test accuracy")
    axes.legend()
    axes.grid(alpha=0.3)
