"""Calibration error against numbers worked out by hand, and against a loop over the bins."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ugts_dist.analysis.calibration import calibration, error, reliability
from ugts_dist.analysis.subject import open_subject
from ugts_dist.distributed.ranks import Ranks


def ece(probabilities: Tensor, labels: Tensor, bins: int = 15) -> float:
    """The error of predictions: `[n, num_classes]` and `[n]` -> 0 to 1."""
    confidence, predicted = probabilities.max(1)
    return error(reliability(confidence, predicted == labels, bins))


def test_a_table_worked_out_by_hand() -> None:
    probabilities = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.55, 0.45], [0.6, 0.4], [0.0, 1.0]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 1, 0, 1])
    # Halves: all five in (0.5, 1]; sure 0.77, right 3 of 5.
    assert ece(probabilities, labels, 2) == pytest.approx(abs(0.6 - 0.77))
    # Quarters: 0.55 and 0.6 (1 of 2 right) in (0.5, 0.75], 0.9, 0.8 and 1 (2 of 3 right) above.
    expected = 2 / 5 * abs(1 / 2 - 0.575) + 3 / 5 * abs(2 / 3 - 0.9)
    assert ece(probabilities, labels, 4) == pytest.approx(expected)
    table = reliability(torch.tensor([0.9, 0.8, 0.55, 0.6, 1.0]), torch.tensor([True, False, False, True, True]), 4)
    assert [row.count for row in table] == [0, 0, 2, 3]
    assert [(row.low, row.high) for row in table] == [(0.0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0)]
    assert math.isnan(table[0].accuracy)
    assert table[2].confidence == pytest.approx(0.575)


def test_a_probability_on_an_edge_is_in_the_bin_below() -> None:
    table = reliability(torch.tensor([0.25, 0.5, 0.75, 1.0], dtype=torch.float64), torch.ones(4).bool(), 4)
    assert [row.count for row in table] == [1, 1, 1, 1]


def test_perfect_and_worst() -> None:
    sure = torch.eye(3)[torch.tensor([0, 1, 2, 0])]
    assert ece(sure, torch.tensor([0, 1, 2, 0])) == 0.0
    assert ece(sure, torch.tensor([1, 2, 0, 1])) == 1.0


@given(st.integers(1, 80), st.integers(2, 6), st.integers(1, 20), st.integers(0, 2**31))
def test_it_is_the_sum_over_the_bins(n: int, classes: int, bins: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    probabilities = (4.0 * torch.randn(n, classes, generator=g, dtype=torch.float64)).softmax(1)
    labels = torch.randint(0, classes, (n,), generator=g)
    expected = 0.0
    sure, predicted = probabilities.max(1)
    for k in range(bins):
        rows = [i for i in range(n) if k / bins < float(sure[i]) <= (k + 1) / bins]
        if rows:
            accuracy = sum(int(predicted[i]) == int(labels[i]) for i in rows) / len(rows)
            expected += len(rows) / n * abs(accuracy - sum(float(sure[i]) for i in rows) / len(rows))
    assert ece(probabilities, labels, bins) == pytest.approx(expected, abs=1e-9)


def test_of_a_run(dense_run: Path) -> None:
    subject = open_subject(dense_run, Ranks())
    graph = subject.graph
    logits = subject.evaluator().logits(subject.model)
    expected = ece(logits[graph.test].double().softmax(1), graph.y[graph.test], 15)
    assert error(calibration(subject)) == pytest.approx(expected, abs=1e-9)
    assert 0.0 < expected < 1.0
