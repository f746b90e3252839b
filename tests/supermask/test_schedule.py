from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ugts_dist import Schedule, constant_schedule, cubic_schedule, linear_schedule

fractions = st.floats(0.0, 1.0, exclude_max=True)


def test_equation_5_by_hand() -> None:
    # Huang et al. (2022): s_f = 0.9, s_i = 0, n = 200, dt = 1, t_0 = 0.
    schedule = linear_schedule(0.9, epochs=200)
    assert schedule(0) == 0.0
    assert schedule(1) == pytest.approx(0.0045, abs=1e-15)
    assert schedule(50) == pytest.approx(0.225, abs=1e-15)
    assert schedule(100) == pytest.approx(0.45, abs=1e-15)
    assert schedule(199) == pytest.approx(0.8955, abs=1e-15)
    assert [schedule(epoch) for epoch in (200, 201, 399, 10**6)] == [0.9] * 4


def test_later_start_and_higher_beginning_by_hand() -> None:
    schedule = linear_schedule(0.8, epochs=4, initial=0.2, start=10)
    assert [schedule(epoch) for epoch in (0, 9, 10)] == pytest.approx([0.2] * 3, abs=1e-15)
    assert [schedule(epoch) for epoch in (11, 12, 13, 14)] == pytest.approx([0.35, 0.5, 0.65, 0.8], abs=1e-15)
    assert schedule.end == 14


@given(
    final=fractions, initial=fractions, epochs=st.integers(1, 300), start=st.integers(0, 50), epoch=st.integers(0, 400)
)
def test_cubic_is_the_formula_of_zhu_and_gupta(
    final: float, initial: float, epochs: int, start: int, epoch: int
) -> None:
    # s_t = s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))^3 for t_0 <= t <= t_0 + n dt, here with dt = 1.
    t = min(max(epoch, start), start + epochs)
    expected = final + (initial - final) * (1.0 - (t - start) / epochs) ** 3
    assert cubic_schedule(final, epochs, initial, start)(epoch) == pytest.approx(expected, abs=1e-14)


@given(final=fractions, epochs=st.integers(0, 60), start=st.integers(0, 20), power=st.sampled_from([1, 3]))
def test_dense_at_first_then_rising_then_at_the_target(final: float, epochs: int, start: int, power: int) -> None:
    schedule = Schedule(final, epochs, power, start=start)
    values = [schedule(epoch) for epoch in range(epochs + start + 5)]
    assert values == sorted(values)
    assert all(0.0 <= value <= final for value in values)
    assert all(value == final for value in values[schedule.end :])
    if epochs:
        assert schedule.end == start + epochs
        assert values[: start + 1] == [0.0] * (start + 1)
        # The target is reached at `end` and not before (where the steps are above the rounding).
        assert final < 1e-3 or values[schedule.end - 1] < final
    else:
        assert schedule.end == 0


def test_cubic_rises_faster_and_ends_slower_than_linear() -> None:
    linear, cubic = linear_schedule(0.9, 100), cubic_schedule(0.9, 100)
    assert all(cubic(epoch) > linear(epoch) for epoch in range(1, 100))
    assert cubic(1) - cubic(0) > linear(1) - linear(0)
    assert cubic(100) - cubic(99) < linear(100) - linear(99)


def test_constant_is_at_the_target_from_the_first_epoch() -> None:
    assert constant_schedule(0.95).end == 0
    assert [constant_schedule(0.95)(epoch) for epoch in (0, 1, 100)] == [0.95] * 3


@pytest.mark.parametrize("value", [1.0, 1.5, -0.1, math.nan, math.inf])
@pytest.mark.parametrize("field", ["final", "initial"])
def test_a_sparsity_outside_its_range_is_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"{field} is {value}, allowed is \[0, 1\)"):
        Schedule(**{"final": 0.5, field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [-1, 1.5, True, math.nan, "10", None])
@pytest.mark.parametrize("field", ["epochs", "start", "power"])
def test_epochs_and_powers_that_are_no_whole_numbers_are_refused(field: str, value: Any) -> None:
    least = 1 if field == "power" else 0
    with pytest.raises(ValueError, match=rf"^sparsity schedule: {field} is .*, allowed is a whole number of {least} "):
        Schedule(**{"final": 0.5, "epochs": 10, field: value})
    with pytest.raises(ValueError, match=r"^epoch is .*, allowed is a whole number of 0 or more"):
        linear_schedule(0.5, 10)(value)


@pytest.mark.parametrize("value", [True, "0.5", None])
def test_a_sparsity_that_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"final is .*, allowed is \[0, 1\)"):
        constant_schedule(value)
