"""Mean average distance against scikit-learn, a loop over all pairs, and the published code."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import pairwise_distances
from sklearn.metrics.pairwise import cosine_distances
from torch import Tensor

from tests.training.helpers import config, planted_graph
from ugts_dist.analysis import smoothing
from ugts_dist.analysis.smoothing import mad, mad_of_layers
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.evaluation.evaluator import Evaluator
from ugts_dist.tasks import build_model


def by_pairs(x: Tensor) -> float:
    """Every pair on its own. Two rows of zeros are equal; a row of zeros has no direction in common with other rows."""
    rows = x.double().tolist()
    distances = []
    for i, a in enumerate(rows):
        for b in rows[:i]:
            lengths = math.hypot(*a) * math.hypot(*b)
            same = math.hypot(*a) == math.hypot(*b) == 0.0
            cosine = sum(p * q for p, q in zip(a, b, strict=True)) / lengths if lengths else 0.0
            distances.append(0.0 if same else 1.0 - cosine)
    return sum(distances) / len(distances)


@given(st.integers(2, 25), st.integers(1, 6), st.floats(0.0, 1.0), st.integers(0, 2**31))
def test_mad_is_the_mean_over_all_pairs(rows: int, width: int, zeros: float, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, width, generator=g) * (torch.rand(rows, 1, generator=g) > zeros)
    assert mad(x) == pytest.approx(by_pairs(x), abs=1e-6)


def test_mad_is_that_of_scikit_learn() -> None:
    x = torch.randn(400, 30) + 1.0
    distances = cosine_distances(x.double().numpy())
    assert mad(x) == pytest.approx(distances.sum() / (400 * 399), abs=1e-9)


def test_mad_is_that_of_its_authors() -> None:
    """The published function; here all distances differ from 0, except those of a node to itself."""
    x = torch.rand(60, 8).numpy()
    distances = pairwise_distances(x, x, metric="cosine")
    np.fill_diagonal(distances, 0.0)
    by_node = distances.sum(1) / ((distances != 0).sum(1) + 1e-8)
    assert mad(torch.from_numpy(x)) == pytest.approx(float(by_node.mean()), abs=1e-6)


def test_the_ends_of_the_scale() -> None:
    assert mad(torch.ones(1000, 7) * torch.rand(1000, 1).add(0.1)) < 1e-9
    assert mad(torch.tensor([[1.0, 0.0], [-3.0, 0.0]])) == pytest.approx(2.0)
    assert mad(torch.eye(5)) == pytest.approx(1.0)
    assert mad(torch.zeros(9, 3)) == 0.0
    assert math.isnan(mad(torch.ones(1, 3)))
    assert math.isnan(mad(torch.tensor([[1.0, math.nan], [1.0, 0.0]])))


def test_small_distances_are_not_lost() -> None:
    """The rows are nearly equal: a sum in float32 would give 0 or worse."""
    angles = 1e-5 * torch.arange(2000, dtype=torch.float64) / 2000
    x = torch.stack([angles.cos(), angles.sin()], dim=1)
    differences = angles[:, None] - angles
    # 1 - cos, without the cancellation.
    exact = float(2.0 * (differences / 2.0).sin().square().sum()) / (2000 * 1999)
    assert mad(x) == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_pieces_do_not_matter(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(100, 5)
    whole = mad(x)
    monkeypatch.setattr(smoothing, "_ROWS", rows)
    assert mad(x) == pytest.approx(whole, abs=1e-12)


def test_layers_have_their_names() -> None:
    graph = planted_graph()
    model = build_model(config(model__depth=3, batch__fan_out=[5, 5, 5]), graph)
    distances = mad_of_layers(Evaluator(graph, Ranks()), model, Ranks())
    assert list(distances) == ["1", "2", "logits"]
    assert distances["logits"] == pytest.approx(mad(Evaluator(graph, Ranks()).logits(model)), abs=1e-9)
    assert distances["1"] > distances["2"] > 0.0
