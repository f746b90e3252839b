"""Mean and deviation of a metric over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over seeds (with n - 1; 0 for one seed).

    `f"{spread:.3f}"` is "0.815 ± 0.004", and "0.815" for one seed.
    """

    mean: float
    deviation: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Mean and deviation of one or more values."""
        deviation = statistics.stdev(values) if len(values) > 1 else 0.0
        return cls(statistics.fmean(values), deviation, len(values))

    def __format__(self, spec: str) -> str:
        mean = format(self.mean, spec)
        return f"{mean} ± {format(self.deviation, spec)}" if self.count > 1 else mean
