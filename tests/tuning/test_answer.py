"""Front and matching rule against brute force."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from tuning.answer import Goal, Point, best_matching, choose_winners, front, matches
from ugts_dist.report.search_files import Objective
from ugts_dist.spread import Spread

# Few different values, so that equal ones come often.
SPARSITIES = st.sampled_from([0.1, 0.5, 0.50001, 0.9, 0.95, 0.99])
METRICS = st.integers(0, 8).map(lambda n: n / 8)
BYTES = st.sampled_from([500.0, 501.0, 900.5, 2000.0])
POINTS = st.lists(st.builds(Point, SPARSITIES, METRICS, BYTES), max_size=12)
OBJECTIVES: st.SearchStrategy[Objective] = st.sampled_from(["sparsity", "bytes"])
GOALS = st.builds(Goal, OBJECTIVES, st.booleans())
DENSE = st.builds(Spread, METRICS, st.sampled_from([0.0, 0.05, 0.2]), st.just(3))
MARGINS = st.sampled_from([-1.0, 0.0, 0.1, 0.3])


def _key(point: Point, goal: Goal) -> tuple[float, float]:
    """Higher is better for each value."""
    valid = point.valid if goal.higher_is_better else 1 - point.valid
    return round(point.sparsity, 3) if goal.objective == "sparsity" else 1 / point.bytes, valid


@given(POINTS, GOALS)
def test_the_front_is_what_no_other_point_dominates(points: list[Point], goal: Goal) -> None:
    kept = front(points, goal)
    keys = [_key(point, goal) for point in points]
    wanted = {(a, b) for a, b in keys if not any(c >= a and d >= b and (c, d) != (a, b) for c, d in keys)}
    assert wanted == {keys[i] for i, p in enumerate(points) if not any(q.dominates(p, goal) for q in points)}
    assert {keys[i] for i in kept} == wanted
    assert len(kept) == len(wanted)
    assert all(i == keys.index(keys[i]) for i in kept)
    assert [keys[i] for i in kept] == sorted((keys[i] for i in kept), reverse=True)


@given(POINTS, DENSE, MARGINS, GOALS)
def test_no_matching_ticket_is_better_than_the_best(
    points: list[Point], dense: Spread, margin: float, goal: Goal
) -> None:
    allowed = dense.deviation if margin == -1 else margin
    worse = [dense.mean - p.valid if goal.higher_is_better else p.valid - dense.mean for p in points]
    matching = [p for p, difference in zip(points, worse, strict=True) if difference <= allowed + 1e-9]
    best = best_matching(points, dense, margin, goal)
    if best is None:
        assert not matching
    else:
        assert _key(points[best], goal) == max(_key(p, goal) for p in matching)


@given(POINTS, DENSE, MARGINS, st.integers(0, 5), GOALS)
def test_winners_are_of_the_front_and_matching_ones_come_first(
    points: list[Point], dense: Spread, margin: float, limit: int, goal: Goal
) -> None:
    kept, winners = front(points, goal), choose_winners(points, dense, margin, limit, goal)
    assert len(winners) == (min(limit, len(kept)) if limit else len(kept))
    assert {*winners} <= {*kept}
    left = [i for i in kept if i not in winners and matches(points[i].valid, dense, margin, goal)]
    assert not left or all(matches(points[i].valid, dense, margin, goal) for i in winners)
    assert all(_key(points[i], goal) >= _key(points[j], goal) for i in winners for j in left)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_mean_and_deviation_over_seeds(values: list[float]) -> None:
    spread, mean = Spread.of(values), sum(values) / len(values)
    squares = sum((value - mean) ** 2 for value in values)
    assert math.isclose(spread.mean, mean, abs_tol=1e-12)
    assert math.isclose(spread.deviation, math.sqrt(squares / max(1, len(values) - 1)), abs_tol=1e-7)
