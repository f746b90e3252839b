"""Front and matching rule against brute force."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from tuning.answer import Point, Spread, choose_winners, front, matches, sparsest_matching, spread

# Few different values, so that equal ones come often.
SPARSITIES = st.sampled_from([0.1, 0.5, 0.50001, 0.9, 0.95, 0.99])
METRICS = st.integers(0, 8).map(lambda n: n / 8)
POINTS = st.lists(st.builds(Point, SPARSITIES, METRICS), max_size=12)
DENSE = st.builds(Spread, METRICS, st.sampled_from([0.0, 0.05, 0.2]), st.just(3))
MARGINS = st.sampled_from([-1.0, 0.0, 0.1, 0.3])


def _key(point: Point) -> tuple[float, float]:
    return round(point.sparsity, 3), point.valid


@given(POINTS)
def test_the_front_is_what_no_other_point_dominates(points: list[Point]) -> None:
    kept = front(points)
    wanted = {_key(p) for p in points if not any(q.dominates(p) for q in points)}
    assert {_key(points[i]) for i in kept} == wanted
    assert len(kept) == len(wanted)
    assert all(i == min(j for j, p in enumerate(points) if _key(p) == _key(points[i])) for i in kept)
    sparsities = [points[i].sparsity for i in kept]
    assert sparsities == sorted(sparsities, reverse=True)


@given(POINTS, DENSE, MARGINS)
def test_no_matching_ticket_is_sparser_than_the_sparsest(points: list[Point], dense: Spread, margin: float) -> None:
    allowed = dense.mean - (dense.deviation if margin == -1 else margin)
    matching = [p for p in points if p.valid >= allowed - 1e-9]
    found = sparsest_matching(points, dense, margin)
    if found is None:
        assert not matching
    else:
        assert _key(points[found]) == max(_key(p) for p in matching)


@given(POINTS, DENSE, MARGINS, st.integers(0, 5))
def test_winners_are_of_the_front_and_matching_ones_come_first(
    points: list[Point], dense: Spread, margin: float, limit: int
) -> None:
    kept, winners = front(points), choose_winners(points, dense, margin, limit)
    assert len(winners) == (min(limit, len(kept)) if limit else len(kept))
    assert {*winners} <= {*kept}
    left = [i for i in kept if i not in winners and matches(points[i].valid, dense, margin)]
    assert not left or all(matches(points[i].valid, dense, margin) for i in winners)
    assert all(points[i].sparsity >= points[j].sparsity for i in winners for j in left)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_mean_and_deviation_over_seeds(values: list[float]) -> None:
    found, mean = spread(values), sum(values) / len(values)
    squares = sum((value - mean) ** 2 for value in values)
    assert math.isclose(found.mean, mean, abs_tol=1e-12)
    assert math.isclose(found.deviation, math.sqrt(squares / max(1, len(values) - 1)), abs_tol=1e-7)
