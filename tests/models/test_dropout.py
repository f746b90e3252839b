"""Dropout that depends on seed, step, layer, node and feature, and on nothing else."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ugts_dist.models import Dropout, SparseFeatures


def noise(dropout: Dropout, num_rows: int, width: int, layer: int = 0) -> Tensor:
    """What ones become: zero, or 1 / (1 - p)."""
    out = dropout(torch.ones(num_rows, width), layer)
    assert isinstance(out, Tensor)
    return out


@given(
    st.lists(st.integers(0, 2**31), min_size=1, max_size=12, unique=True),
    st.integers(1, 20),
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**40),
)
def test_a_node_loses_the_same_in_every_company(nodes: list[int], width: int, seed: int, step: int) -> None:
    together = noise(Dropout(0.5, seed, step, torch.tensor(nodes)), len(nodes), width)
    for row, node in enumerate(nodes):
        alone = noise(Dropout(0.5, seed, step, torch.tensor([node])), 1, width)
        assert torch.equal(together[row], alone[0])


@pytest.mark.parametrize("p", [0.1, 0.5, 0.73])
def test_features_are_dropped_at_the_rate_and_the_others_scaled(p: float) -> None:
    factors = noise(Dropout(p, 3, 1, torch.arange(2000)), 2000, 53)
    assert sorted(factors.unique().tolist()) == pytest.approx([0.0, 1 / (1 - p)])
    spread = (p * (1 - p)) ** 0.5
    dropped = (factors == 0).double()
    assert abs(float(dropped.mean()) - p) < 4.5 * spread / factors.numel() ** 0.5
    assert bool(((dropped.mean(0) - p).abs() < 4.5 * spread / 2000**0.5).all()), "every feature alike"
    neighbours = (dropped[:, 1:] - p) * (dropped[:, :-1] - p)  # also those that share one hash
    assert abs(float(neighbours.mean())) < 4.5 * spread**2 / neighbours.numel() ** 0.5


def test_steps_layers_and_seeds_are_independent() -> None:
    nodes = torch.arange(500)
    base = noise(Dropout(0.5, 3, 1, nodes), 500, 64)
    others = [
        noise(Dropout(0.5, 4, 1, nodes), 500, 64),
        noise(Dropout(0.5, 3, 2, nodes), 500, 64),
        noise(Dropout(0.5, 3, 1, nodes), 500, 64, layer=1),
    ]
    for other in others:
        assert abs(float(((base == 0) == (other == 0)).double().mean()) - 0.5) < 4.5 * 0.5 / base.numel() ** 0.5


def test_of_sparse_features_only_what_is_there_is_dropped() -> None:
    x = torch.ones(400, 50) * (torch.arange(50) < 10)
    features = SparseFeatures.of(x)
    dropped = Dropout(0.4, 0, 0, torch.arange(400))(features, 0)
    assert isinstance(dropped, SparseFeatures)
    assert dropped.pattern is features.pattern
    assert sorted(dropped.values.unique().tolist()) == pytest.approx([0.0, 1 / 0.6])
    assert abs(float((dropped.values != 0).double().mean()) - 0.6) < 4.5 * (0.24 / 4000) ** 0.5
    assert torch.equal(features.values, torch.ones(4000))
    part = Dropout(0.4, 0, 0, torch.arange(100, 200))(SparseFeatures.of(x[100:200]), 0)
    assert isinstance(part, SparseFeatures)
    assert torch.equal(part.values, dropped.values[1000:2000])


@pytest.mark.parametrize("p", [0.99999, 0.9999999])
def test_nearly_everything_can_be_dropped(p: float) -> None:
    assert float((noise(Dropout(p, 0, 0, torch.arange(1000)), 1000, 64) == 0).double().mean()) > 0.999


def test_no_dropout_is_no_work() -> None:
    x = torch.ones(3, 4)
    assert Dropout(0.0, 0, 0, torch.arange(3))(x, 0) is x


@pytest.mark.gpu
def test_the_same_bits_on_a_gpu() -> None:
    nodes = torch.arange(1000)
    on_gpu = Dropout(0.3, 1, 2, nodes.cuda())(torch.ones(1000, 37).cuda(), 1)
    assert isinstance(on_gpu, Tensor)
    assert torch.equal(on_gpu.cpu() == 0, noise(Dropout(0.3, 1, 2, nodes), 1000, 37, layer=1) == 0)


def test_dropout_of_the_input_alone() -> None:
    dropout = Dropout(0.5, 1, 2, torch.arange(50), at="input")
    assert torch.equal(noise(dropout, 50, 8), noise(Dropout(0.5, 1, 2, torch.arange(50)), 50, 8))
    for layer in (1, 2, 33):
        assert torch.equal(noise(dropout, 50, 8, layer), torch.ones(50, 8))
