"""Columns get mean 0 and deviation 1, whatever their unit, and the graph's checksum stays that of its files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.training.helpers import planted_graph
from ugts_dist.config import Config
from ugts_dist.errors import InputError
from ugts_dist.graphs import files, standardize
from ugts_dist.graphs.checksum import DataChecksum
from ugts_dist.graphs.configured import load_data, load_graph
from ugts_dist.graphs.standardize import column_moments, standardized
from ugts_dist.graphs.store_writer import write_store


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 2**32 - 1), st.sampled_from([3, 1 << 20]))
def test_columns_are_those_of_numpy(num_nodes: int, width: int, seed: int, block: int) -> None:
    random = np.random.default_rng(seed)
    x = (random.normal(size=(num_nodes, width)) * 10.0 ** random.integers(-3, 4, width)).astype(np.float32)
    x += 10.0 ** random.integers(-3, 3, width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(standardize, "_BLOCK", block)
        mean, deviation = column_moments(torch.from_numpy(x))
        got = standardized(torch.from_numpy(x))
    wide = x.astype(np.float64)
    np.testing.assert_allclose(mean, wide.mean(0), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(deviation, wide.std(0), rtol=1e-9, atol=1e-12)
    varies = wide.std(0) > 1e-6 * abs(wide.mean(0))
    expected = np.where(varies, (wide - wide.mean(0)) / np.where(varies, wide.std(0), 1), 0)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_a_constant_column_is_zero_also_where_rounding_makes_it_vary() -> None:
    x = torch.full((1000, 2), 0.1)
    x[:, 1] = 0.0
    assert not standardized(x).any()


def test_a_configured_graph_is_scaled_and_its_checksum_is_that_of_the_store(tmp_path: Path) -> None:
    graph = planted_graph()
    write_store(graph, tmp_path / "planted", {"source": "test"})
    plain = Config().replace({"data.name": str(tmp_path / "planted")})
    loaded = load_graph(plain.replace({"data.features": "standardize"}))
    torch.testing.assert_close(loaded.x.mean(0), torch.zeros(16), rtol=0, atol=1e-6)
    torch.testing.assert_close(loaded.x.std(0, correction=0), torch.ones(16))
    assert DataChecksum.of(loaded) == DataChecksum.of(load_graph(plain))


def test_whole_graphs_are_not_scaled() -> None:
    with pytest.raises(InputError, match=r"data\.features is standardize, allowed are auto and none for ogbg-molbace"):
        load_data(Config().replace({"data.name": "ogbg-molbace", "data.features": "standardize"}))


@pytest.mark.parametrize("features", ["standardize", "row-normalize"])
def test_a_copy_that_does_not_fit_is_one_line(tmp_path: Path, features: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container the process would be killed without a word."""
    graph = planted_graph()
    write_store(replace(graph, x=graph.x.abs()), tmp_path / "store")
    config = Config().replace({"data.name": str(tmp_path / "store"), "data.features": features})
    monkeypatch.setattr(files, "available_memory", lambda: graph.x.nbytes - 1)
    with pytest.raises(
        InputError,
        match=rf"^data\.features {features}: a copy of .*: takes 0\.00 GB .* or data\.features none$",
    ):
        load_graph(config)
    monkeypatch.setattr(files, "available_memory", lambda: graph.x.nbytes)
    load_graph(config)
