from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from ugts_dist.supermask.reached import (
    num_kept,
    num_kept_in_one_vector,
    unprotected,
    unprotected_in_one_vector,
)
from ugts_dist.supermask.threshold import CHUNK

floats = st.one_of(st.floats(-2, 2, width=16), st.sampled_from([0.0, -0.0, math.inf, -math.inf]))


@given(st.lists(st.tuples(st.lists(floats, min_size=1, max_size=9), floats), min_size=1, max_size=5))
def test_each_tensor_has_its_own_threshold(drawn: list[tuple[list[float], float]]) -> None:
    scores = [torch.tensor(values) for values, _ in drawn]
    thresholds = torch.tensor([threshold for _, threshold in drawn])
    sizes = torch.tensor([len(values) for values, _ in drawn])
    counts = [sum(value >= threshold for value in values) for values, threshold in drawn]
    left = [math.inf if value >= threshold else value for values, threshold in drawn for value in values]
    for count in (num_kept, num_kept_in_one_vector):
        assert count(scores, thresholds, sizes).tolist() == counts
    for without in (unprotected, unprotected_in_one_vector):
        assert without(scores, thresholds, sizes).tolist() == left


def test_counts_beyond_the_exact_integers_of_float32_are_exact() -> None:
    scores, sizes = [torch.ones(2**24 + 3), torch.ones(2, CHUNK)], torch.tensor([2**24 + 3, 2 * CHUNK])
    for count in (num_kept, num_kept_in_one_vector):
        assert count(scores, torch.zeros(2), sizes).tolist() == sizes.tolist()


def test_scores_stay_as_they_are() -> None:
    scores = torch.randn(3, 5)
    before = scores.clone()
    unprotected([scores], torch.zeros(1), torch.tensor([15]))
    assert torch.equal(scores, before)
