"""Sparsity as a function of the epoch."""

from __future__ import annotations

from dataclasses import dataclass

from ugts_dist.supermask import arguments


@dataclass(frozen=True)
class Schedule:
    """Sparsity that rises from `initial` to `final` in `epochs` steps, beginning at epoch `start`.

    `s_t = s_f + (s_i - s_f) * (1 - (t - t_0) / n) ** power`. Power 1 is Eq. 5 of Huang et al. (2022) with one step per
    epoch; power 3 is the cubic schedule of Zhu and Gupta (2017). With `epochs` 0 the sparsity is `final` from the
    start.

    Raises ValueError for sparsities outside [0, 1), and for epochs or powers that are negative or not whole numbers.
    """

    final: float
    epochs: int = 0
    power: int = 1
    initial: float = 0.0
    start: int = 0

    def __post_init__(self) -> None:
        for field in ("final", "initial"):
            arguments.fraction(f"sparsity schedule: {field}", getattr(self, field), below_one=True)
        for field, least in (("epochs", 0), ("power", 1), ("start", 0)):
            arguments.whole(f"sparsity schedule: {field}", getattr(self, field), least)

    @property
    def end(self) -> int:
        """The first epoch at the final sparsity."""
        return self.start + self.epochs if self.epochs else 0

    def __call__(self, epoch: int) -> float:
        """Sparsity in `epoch` (counted from 0). Raises ValueError for a negative epoch or one that is not whole."""
        epoch = arguments.whole("epoch", epoch, 0)
        if epoch >= self.end:
            return self.final
        left = 1.0 - max(0, epoch - self.start) / self.epochs
        return self.final + (self.initial - self.final) * left**self.power


def linear_schedule(final: float, epochs: int, initial: float = 0.0, start: int = 0) -> Schedule:
    """Linear rise (Eq. 5 of Huang et al. 2022)."""
    return Schedule(final, epochs, 1, initial, start)


def cubic_schedule(final: float, epochs: int, initial: float = 0.0, start: int = 0) -> Schedule:
    """Cubic rise: fast at first, slow at the end (Zhu and Gupta 2017)."""
    return Schedule(final, epochs, 3, initial, start)


def constant_schedule(final: float) -> Schedule:
    """The final sparsity from the start, as in Edge-Popup (Ramanujan et al. 2020)."""
    return Schedule(final)
