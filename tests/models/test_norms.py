"""Normalisation, by hand and by PyG."""

from __future__ import annotations

import pytest
import torch
import torch_geometric.nn as pyg
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ugts_dist.models import DeepGNNOptions
from ugts_dist.models.norms import NodeNorm, PairNorm, make_norm


def rows(num_rows: int, width: int, seed: int, offset: float = 0.0) -> Tensor:
    return torch.randn(num_rows, width, generator=torch.Generator().manual_seed(seed)) * 3 + offset


def test_nodenorm_by_hand() -> None:
    output = NodeNorm()(torch.tensor([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0], [0.0, 0.0, 4.0]]))
    # Deviations -1, 0, 1 by their root mean square (2/3)^1/2; and -4/3, -4/3, 8/3 by (32/9)^1/2.
    expected = [[-(1.5**0.5), 0.0, 1.5**0.5], [0.0, 0.0, 0.0], [-(0.5**0.5), -(0.5**0.5), 2**0.5]]
    torch.testing.assert_close(output, torch.tensor(expected), rtol=1e-4, atol=1e-4)


@given(st.integers(1, 20), st.integers(2, 30), st.integers(0, 1000))
def test_nodenorm_gives_every_node_mean_0_and_variance_1(num_rows: int, width: int, seed: int) -> None:
    x = rows(num_rows, width, seed, offset=2.0)
    output = NodeNorm()(x)
    variance = x.var(1, unbiased=False)
    torch.testing.assert_close(output.mean(1), torch.zeros(num_rows), rtol=0, atol=1e-3)
    expected = variance / (variance + NodeNorm.eps)
    torch.testing.assert_close(output.var(1, unbiased=False), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("offset", [0.0, 50.0])
def test_pairnorm_is_pygs(offset: float) -> None:
    x = rows(40, 9, 1, offset)
    assert torch.equal(PairNorm()(x), pyg.PairNorm(eps=PairNorm.eps)(x))


def test_pairnorm_keeps_the_sum_of_all_pairs_distances() -> None:
    """Zhao and Akoglu 2020, equation 8: with scale 1 the squared distances of all pairs add up to 2 n^2."""
    output = PairNorm()(rows(40, 9, 1, 5.0))
    assert float(torch.cdist(output, output).square().sum()) == pytest.approx(2 * 40**2, rel=1e-4)


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.integers(1, 12),
    st.integers(0, 1000),
    st.sampled_from([0.0, 7.0, -300.0]),
)
def test_sums_over_parts_give_the_pairnorm_of_all_rows(sizes: list[int], width: int, seed: int, offset: float) -> None:
    norm, x = PairNorm(), rows(sum(sizes), width, seed, offset)
    sums = torch.stack([norm.sums(part) for part in x.split(sizes)]).sum(0)
    joined = torch.cat([norm.normalised(part, sums, x.shape[0]) for part in x.split(sizes)])
    centred = x.double() - x.double().mean(0)
    expected = centred / (1e-6 + centred.square().sum(1).mean()).sqrt()
    torch.testing.assert_close(joined, expected.float(), rtol=1e-4, atol=1e-4)


def test_rows_that_are_all_alike_become_zero() -> None:
    norm, x = PairNorm(), torch.full((7, 5), 1234.5678)
    assert torch.equal(norm.normalised(x, norm.sums(x), 7), torch.zeros(7, 5))


@pytest.mark.parametrize("norm", [NodeNorm(), PairNorm()])
def test_the_type_stays(norm: NodeNorm | PairNorm) -> None:
    x = rows(30, 8, 2)
    output = norm(x.bfloat16())
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), norm(x), rtol=0.05, atol=0.05)
    assert not list(norm.parameters())


def test_no_norm_is_none() -> None:
    assert make_norm(DeepGNNOptions()) is None
    assert isinstance(make_norm(DeepGNNOptions(norm="nodenorm")), NodeNorm)
    assert isinstance(make_norm(DeepGNNOptions(norm="pairnorm")), PairNorm)
