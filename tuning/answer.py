"""The answer of a search as pure functions of accuracies: Pareto front, mean over seeds, matching rule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ugts_dist.report.search_files import Objective
from ugts_dist.spread import Spread

DIGITS = 3  # of compared sparsities: how exactly a target is met depends on the number of weights


@dataclass(frozen=True)
class Point:
    """A ticket: its sparsity, its validation metric, and the bytes of its file (a mean over seeds)."""

    sparsity: float
    valid: float
    bytes: float = 0.0

    def merit(self, objective: Objective) -> float:
        """The value of the second objective; higher is better."""
        return round(self.sparsity, DIGITS) if objective == "sparsity" else -self.bytes

    def dominates(self, other: Point, objective: Objective = "sparsity") -> bool:
        """Whether it is at least as good in both objectives, and better in one."""
        mine, others = (self.merit(objective), self.valid), (other.merit(objective), other.valid)
        return mine != others and mine[0] >= others[0] and mine[1] >= others[1]


def point_of(result: Mapping[str, Any]) -> Point:
    """The point of a finished run, from its result."""
    return Point(result["sparsity"], result["valid"], result["bytes"])


def front(points: Sequence[Point], objective: Objective = "sparsity") -> list[int]:
    """Indices of the points that no other dominates, sparsest or smallest first; the first of equal points."""
    order = sorted(range(len(points)), key=lambda i: (-points[i].merit(objective), -points[i].valid, i))
    kept: list[int] = []
    best = -math.inf
    for i in order:
        if points[i].valid > best:
            kept.append(i)
            best = points[i].valid
    return kept


def tolerance(dense: Spread, margin: float) -> float:
    """Allowed difference of a matching ticket: the margin, or the dense network's standard deviation if that is -1."""
    return dense.deviation if margin == -1.0 else margin


def matches(ticket: float, dense: Spread, margin: float) -> bool:
    """Whether a ticket's mean validation metric is at least the dense network's minus the tolerance."""
    # Means of the same numbers can differ in their last bit.
    return ticket >= dense.mean - tolerance(dense, margin) - 1e-12


def best_matching(
    tickets: Sequence[Point], dense: Spread, margin: float, objective: Objective = "sparsity"
) -> int | None:
    """Index of the sparsest or smallest matching ticket; of equal ones the most accurate."""
    matching = [i for i, ticket in enumerate(tickets) if matches(ticket.valid, dense, margin)]
    key = lambda i: (tickets[i].merit(objective), tickets[i].valid, -i)  # noqa: E731
    return max(matching, key=key, default=None)


def choose_winners(
    points: Sequence[Point], dense: Spread | None, margin: float, limit: int, objective: Objective = "sparsity"
) -> list[int]:
    """Indices of the front's points that are run with further seeds: all, or at most `limit` (0: all).

    Matching ones come first, the sparsest or smallest before others, then the most accurate.
    """
    on_front = front(points, objective)
    if not limit:
        return on_front
    matching = [i for i in on_front if dense is not None and matches(points[i].valid, dense, margin)]
    others = sorted((i for i in on_front if i not in matching), key=lambda i: -points[i].valid)
    chosen = {*(matching + others)[:limit]}
    return [i for i in on_front if i in chosen]
