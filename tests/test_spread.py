from __future__ import annotations

import numpy as np
import pytest

from ugts_dist.spread import Spread


def test_mean_and_deviation_are_those_of_numpy() -> None:
    values = [0.81, 0.83, 0.79, 0.8]
    spread = Spread.of(values)
    assert (spread.mean, spread.deviation) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    assert spread.count == 4


def test_one_seed_has_no_deviation() -> None:
    assert Spread.of([0.5]) == Spread(0.5, 0.0, 1)
    assert f"{Spread.of([0.5]):.2f}" == "0.50"
    assert f"{Spread(0.8154, 0.0041, 3):.3f}" == "0.815 ± 0.004"
