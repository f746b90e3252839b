"""The answer of a search as pure functions of metrics: Pareto front, mean over seeds, matching rule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ugts_dist.metrics import Metric
from ugts_dist.report.search_files import Objective
from ugts_dist.spread import Spread

DIGITS = 3  # of compared sparsities: how exactly a target is met depends on the number of weights


@dataclass(frozen=True)
class Goal:
    """What a search looks for.

    Attributes:
        objective: beside the validation metric.
        higher_is_better: whether that holds for the metric; not for an error such as RMSE.
    """

    objective: Objective = "sparsity"
    higher_is_better: bool = True

    @classmethod
    def of(cls, objective: Objective, metric: Metric) -> Goal:
        return cls(objective, metric.higher_is_better)

    def quality(self, valid: float) -> float:
        """The validation metric so that higher is better."""
        return valid if self.higher_is_better else -valid


@dataclass(frozen=True)
class Point:
    """A ticket: its sparsity, its validation metric, and the bytes of its file (a mean over seeds)."""

    sparsity: float
    valid: float
    bytes: float = 0.0

    def merit(self, objective: Objective) -> float:
        """The value of the second objective; higher is better."""
        return round(self.sparsity, DIGITS) if objective == "sparsity" else -self.bytes

    def values(self, goal: Goal) -> tuple[float, float]:
        """The values of both objectives; higher is better."""
        return self.merit(goal.objective), goal.quality(self.valid)

    def dominates(self, other: Point, goal: Goal) -> bool:
        """Whether it is at least as good in both objectives, and better in one."""
        mine, others = self.values(goal), other.values(goal)
        return mine != others and mine[0] >= others[0] and mine[1] >= others[1]


def point_of(result: Mapping[str, Any]) -> Point:
    """The point of a finished run, from its result."""
    return Point(result["sparsity"], result["valid"], result["bytes"])


def front(points: Sequence[Point], goal: Goal) -> list[int]:
    """Indices of the points that no other dominates, sparsest or smallest first; the first of equal points."""
    # Python's sort keeps the order of equal points, also in reverse.
    order = sorted(range(len(points)), key=lambda i: points[i].values(goal), reverse=True)
    kept: list[int] = []
    best = -math.inf
    for i in order:
        quality = goal.quality(points[i].valid)
        if quality > best:
            kept.append(i)
            best = quality
    return kept


def tolerance(dense: Spread, margin: float) -> float:
    """Allowed difference of a matching ticket: the margin, or the dense network's standard deviation if that is -1."""
    return dense.deviation if margin == -1.0 else margin


def matches(ticket: float, dense: Spread, margin: float, goal: Goal) -> bool:
    """Whether a ticket's mean validation metric is not worse than the dense network's by more than the tolerance."""
    # Means of the same numbers can differ in their last bit.
    rounding = 1e-12 * max(1.0, abs(dense.mean))
    return goal.quality(ticket) >= goal.quality(dense.mean) - tolerance(dense, margin) - rounding


def best_matching(tickets: Sequence[Point], dense: Spread, margin: float, goal: Goal) -> int | None:
    """Index of the sparsest or smallest matching ticket; of equal ones the most accurate."""
    matching = [i for i, ticket in enumerate(tickets) if matches(ticket.valid, dense, margin, goal)]
    return max(matching, key=lambda i: tickets[i].values(goal), default=None)


def choose_winners(points: Sequence[Point], dense: Spread | None, margin: float, limit: int, goal: Goal) -> list[int]:
    """Indices of the front's points that are run with further seeds: all, or at most `limit` (0: all).

    Matching ones come first, the sparsest or smallest before others, then the most accurate.
    """
    on_front = front(points, goal)
    if not limit:
        return on_front
    matching = [i for i in on_front if dense is not None and matches(points[i].valid, dense, margin, goal)]
    others = sorted((i for i in on_front if i not in matching), key=lambda i: -goal.quality(points[i].valid))
    chosen = {*(matching + others)[:limit]}
    return [i for i in on_front if i in chosen]
