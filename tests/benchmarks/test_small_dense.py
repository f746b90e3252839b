"""Pruned and rounded dense networks against numpy, entry after entry."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pruning
import pytest
import small_dense
import torch
from torch import Tensor


def network(seed: int = 0) -> dict[str, Tensor]:
    """Weights of odd sizes, an attention vector, and a buffer that is no weight."""
    g = torch.Generator().manual_seed(seed)
    shapes = {"a.weight": (7, 31), "att": (1, 3, 5), "b.weight": (3, 7)}
    state = {name: torch.randn(shape, generator=g) for name, shape in shapes.items()}
    state["b.weight"][1] = 0.0  # a row without a scale
    return {**state, "mean": torch.randn(4, generator=g)}


def there_and_back(folder: Path, state: dict[str, Tensor], values: small_dense.Values) -> dict[str, Tensor]:
    path = folder / "file"
    written = small_dense.write(path, state, values, {"config": {}})
    assert written.size == path.stat().st_size <= written.packed
    return small_dense.read(path, {name: value.shape for name, value in state.items()})


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.97])
def test_float32_comes_back_bit_for_bit(tmp_path: Path, sparsity: float) -> None:
    state = pruning.pruned(network(), sparsity)
    returned = there_and_back(tmp_path, state, "float32")
    assert returned.keys() == state.keys()
    assert all(torch.equal(returned[name], state[name]) for name in state)


def test_float16_is_rounded_once(tmp_path: Path) -> None:
    state = network()
    returned = there_and_back(tmp_path, state, "float16")
    assert all(torch.equal(returned[name], state[name].half().float()) for name in ("a.weight", "att", "b.weight"))
    assert torch.equal(returned["mean"], state["mean"])


@pytest.mark.parametrize(("values", "top"), [("int8", 127), ("int4", 7)])
@pytest.mark.parametrize("sparsity", [0.0, 0.8])
def test_integers_are_the_nearest_multiples_of_their_rows_scale(
    tmp_path: Path, values: small_dense.Values, top: int, sparsity: float
) -> None:
    state = pruning.pruned(network(), sparsity)
    returned = there_and_back(tmp_path, state, values)
    for name in ("a.weight", "att", "b.weight"):
        for row, kept in zip(state[name].flatten(0, -2).numpy(), returned[name].flatten(0, -2).numpy(), strict=True):
            scale = np.float32(np.float16(np.abs(row).max() / top))
            levels = np.arange(-top, top + 1) * scale
            nearest = levels[np.abs(row[:, None] - levels).argmin(axis=1)]
            np.testing.assert_allclose(kept, nearest, atol=1e-6)
            assert (kept[row == 0] == 0).all()


def test_four_bits_take_half_a_byte_for_each_weight_that_is_kept(tmp_path: Path) -> None:
    state = {"a.weight": torch.randn(64, 1000, generator=torch.Generator().manual_seed(0))}
    header = small_dense.write(tmp_path / "a", {"a.weight": torch.zeros(64, 1000)}, "int4", {}).packed
    assert small_dense.write(tmp_path / "b", state, "int4", {}).packed == pytest.approx(header + 32_000, abs=20)


@pytest.mark.parametrize("spread", [0.7, 3.0])
def test_coded_four_bits_take_little_more_than_their_entropy(tmp_path: Path, spread: float) -> None:
    rng = np.random.default_rng(0)
    levels = np.clip(np.round(rng.normal(0.0, spread, (64, 1000))), -7, 7).astype(np.float32)
    levels[:, 0] = 7  # so that the scale of each row is 1
    counts = np.unique(levels, return_counts=True)[1]
    entropy = float((counts * np.log2(levels.size / counts)).sum()) / 8
    header = small_dense.write(tmp_path / "a", {"a.weight": torch.zeros(64, 1000)}, "int4", {}).size
    written = small_dense.write(tmp_path / "b", {"a.weight": torch.from_numpy(levels)}, "int4", {})
    assert entropy < written.size - header < 1.02 * entropy + 100
    assert torch.equal(
        small_dense.read(tmp_path / "b", {"a.weight": torch.Size((64, 1000))})["a.weight"], torch.from_numpy(levels)
    )


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.9])
def test_the_least_magnitudes_of_all_layers_are_pruned(sparsity: float) -> None:
    state = network()
    pruned = pruning.pruned(state, sparsity)
    every = np.sort(np.concatenate([state[n].abs().numpy().ravel() for n in ("a.weight", "att", "b.weight")]))
    limit = every[round(sparsity * len(every))] if sparsity else -math.inf
    for name in ("a.weight", "att", "b.weight"):
        assert torch.equal(pruned[name], torch.where(state[name].abs() >= limit, state[name], 0.0))
    assert torch.equal(pruned["mean"], state["mean"])
