"""The answer of a search, as pure functions of accuracies: Pareto front, mean over seeds, matching rule."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

DIGITS = 3  # of sparsities that are compared: how exactly a target can be met depends on the number of weights


@dataclass(frozen=True)
class Point:
    """A ticket: its sparsity, and its validation metric."""

    sparsity: float
    valid: float

    def dominates(self, other: Point) -> bool:
        """At least as good in both, and better in one."""
        mine, others = (round(self.sparsity, DIGITS), self.valid), (round(other.sparsity, DIGITS), other.valid)
        return mine != others and mine[0] >= others[0] and mine[1] >= others[1]


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over seeds (with n - 1; 0 for one seed)."""

    mean: float
    deviation: float
    count: int


def spread(values: Sequence[float]) -> Spread:
    """Of one or more values."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return Spread(statistics.fmean(values), deviation, len(values))


def front(points: Sequence[Point]) -> list[int]:
    """Numbers of the points that no other dominates, sparsest first; of equal points the first."""
    order = sorted(range(len(points)), key=lambda i: (-round(points[i].sparsity, DIGITS), -points[i].valid, i))
    kept: list[int] = []
    best = -math.inf
    for i in order:
        if points[i].valid > best:
            kept.append(i)
            best = points[i].valid
    return kept


def tolerance(dense: Spread, margin: float) -> float:
    """How much lower a matching ticket may be: the margin, or one deviation of the dense network where that is -1."""
    return dense.deviation if margin == -1.0 else margin


def matches(ticket: float, dense: Spread, margin: float) -> bool:
    """Whether a ticket's mean validation metric is at least the dense network's less the tolerance."""
    # Means of the same numbers may differ in their last bit.
    return ticket >= dense.mean - tolerance(dense, margin) - 1e-12


def sparsest_matching(tickets: Sequence[Point], dense: Spread, margin: float) -> int | None:
    """Number of the sparsest of the tickets that match; of equals the most accurate one."""
    matching = [i for i, ticket in enumerate(tickets) if matches(ticket.valid, dense, margin)]
    key = lambda i: (round(tickets[i].sparsity, DIGITS), tickets[i].valid, -i)  # noqa: E731
    return max(matching, key=key, default=None)


def choose_winners(points: Sequence[Point], dense: Spread | None, margin: float, limit: int) -> list[int]:
    """Numbers of the front's points that are run with further seeds: all, or at most `limit` (0: all).

    Those that match the dense network come first, the sparsest of them first, then the most accurate.
    """
    on_front = front(points)
    if not limit:
        return on_front
    matching = [i for i in on_front if dense is not None and matches(points[i].valid, dense, margin)]
    others = sorted((i for i in on_front if i not in matching), key=lambda i: -points[i].valid)
    chosen = {*(matching + others)[:limit]}
    return [i for i in on_front if i in chosen]
