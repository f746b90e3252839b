"""A PyG Data in memory is read as the same Data in a file: the same graph, or the same complaint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from tests.graphs.stores import assert_equal, expected, make, random_parts, refusal
from tests.graphs.test_pyg_data import MASKS, data_of, saved, sparse
from ugts_dist.errors import InputError
from ugts_dist.graphs.in_memory import graph_of

N, E = 60, 400
Changes = dict[str, Any]


def changed(changes: Changes) -> Data:
    data = data_of(random_parts(N, E))
    for field, value in changes.items():
        data[field] = value
    return data


def test_a_graph_is_that_of_its_tensors() -> None:
    assert_equal(graph_of(changed({}), "mine"), expected(random_parts(N, E)))


TRAINED = torch.arange(2.0 * E).view(E, 2).requires_grad_()
ALLOWED: list[Changes] = [
    {},
    dict.fromkeys(("y", *MASKS)),
    dict.fromkeys(MASKS),
    {"y": 5 * (torch.arange(N) % 2)},
    {"y": torch.arange(N)[:, None] % 3},
    {"y": torch.rand(N)},
    {"y": torch.rand(N, 2)},
    {"y": torch.randint(0, 2, (N, 3))},
    {"y": torch.rand(N, dtype=torch.bfloat16)},
    {"x": torch.rand(N)},
    {"x": torch.rand(N, 2, requires_grad=True)},
    {"x": torch.rand(N, 2).bfloat16()},
    {"x": torch.eye(N, dtype=torch.bool)},
    {"edge_weight": torch.rand(E, 1)},
    {"edge_weight": torch.rand(E, requires_grad=True)},
    {"edge_weight": torch.ones(E, dtype=torch.int64)},
    {"edge_attr": TRAINED[:, 0] * 0},
    {"edge_attr": TRAINED * 0},
    {"edge_weight": torch.rand(E).half(), "edge_attr": torch.ones(E, 2).bfloat16()},
    {mask: changed({})[mask].long() for mask in MASKS},
    {mask: torch.stack([changed({})[mask]] * 2, 1) for mask in MASKS},
]


@pytest.mark.parametrize("changes", ALLOWED)
def test_both_ways_read_the_same(changes: Changes, tmp_path: Path) -> None:
    data = changed(changes)
    stored = make(tmp_path / "out", saved(tmp_path, data))
    found = graph_of(data, "mine")
    assert_equal(found, stored) if not found.y.is_floating_point() else _assert_numbers(found.y, stored.y)
    assert found.class_names == stored.class_names
    assert found.x.untyped_storage().data_ptr() != data.x.untyped_storage().data_ptr()


def _assert_numbers(found: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("layout", [torch.sparse_csr, torch.sparse_coo])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_transposed_adjacency_matrix(layout: torch.layout, dtype: torch.dtype, tmp_path: Path) -> None:
    weight = (torch.arange(E) % 7 + 1).to(dtype)
    plain = changed({"edge_weight": weight})
    data = sparse(plain, layout=layout, attr="edge_weight")
    assert data.adj_t.dtype == dtype
    assert_equal(graph_of(data, "mine"), graph_of(plain, "mine"))
    assert_equal(make(tmp_path / "out", saved(tmp_path, data)), graph_of(plain, "mine"))


WRONG: list[Changes] = [
    {"x": None},
    {"x": torch.tensor(1.0)},
    {"x": torch.zeros(N, 2).to_sparse()},
    {"x": torch.full((N, 2), torch.nan)},
    {"x": torch.zeros(N - 1, 2)},
    {"x": torch.zeros(N, 2, dtype=torch.complex64)},
    {"edge_index": None},
    {"edge_index": torch.zeros(E, 2, dtype=torch.int64)},
    {"edge_index": torch.zeros(2, E)},
    {"edge_index": torch.tensor([[0, 1], [1, N]])},
    {"y": None},
    {"y": torch.tensor(1)},
    {"y": torch.tensor(1.0)},
    {"y": torch.ones(N, dtype=torch.bool)},
    {"y": torch.full((N,), -1)},
    {"y": torch.full((N, 2), torch.inf)},
    {"y": torch.zeros(N, 1, 1, dtype=torch.int64)},
    {"y": torch.zeros(N - 1, dtype=torch.int64)},
    {"edge_weight": torch.full((E,), -1.0)},
    {"edge_weight": torch.ones(E - 1)},
    {"edge_weight": torch.ones(E, 2)},
    {"edge_weight": torch.ones(E).to_sparse()},
    {"edge_attr": torch.arange(float(E))},
    {"edge_attr": torch.full((E, 2), torch.inf)},
    {"edge_attr": torch.ones(E + 1, 2)},
    {"train_mask": None},
    {"val_mask": torch.arange(N)},
    {"val_mask": torch.zeros(N, dtype=torch.bool)},
    {"test_mask": torch.ones(N, dtype=torch.bool)},
    {"test_mask": torch.ones(N)},
    {"test_mask": torch.tensor(True)},
    {"edge_index": None, "adj_t": torch.eye(N)},
]


@pytest.mark.parametrize("changes", WRONG)
def test_both_ways_refuse_the_same(changes: Changes, tmp_path: Path) -> None:
    data = changed(changes)
    with pytest.raises(InputError) as caught:
        graph_of(data, "mine")
    complaint = str(caught.value)
    assert complaint.startswith("data.")
    assert refusal(tmp_path, saved(tmp_path, data)) == complaint.replace("data.", f"{tmp_path / 'graph.pt'} ")


@pytest.mark.parametrize("field", ["x", "edge_index", "y", "edge_weight", "edge_attr", "train_mask"])
def test_arrays_of_numpy_are_refused(field: str) -> None:
    """A file of ``torch.save`` with one is not read at all."""
    with pytest.raises(InputError, match=rf"^data\.{field}: is ndarray; allowed: a dense tensor$"):
        graph_of(changed({field: np.ones(E)}), "mine")


def test_a_drawn_split_is_that_of_prepare(tmp_path: Path) -> None:
    data = changed({})
    stored = make(tmp_path / "out", saved(tmp_path, data), split_random="60/20/20", seed=3)
    assert_equal(graph_of(data, "mine", random_split="60/20/20", seed=3), stored)
    with pytest.raises(InputError, match=r"^data\.y: is NoneType; allowed: a dense tensor$"):
        graph_of(changed({"y": None}), "mine", random_split="60/20/20")
