"""PyG's Data as users save them: read correctly, or refused in one line; no code in the file is run."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from numpy.typing import NDArray
from torch_geometric.data import Batch, Data, HeteroData
from torch_geometric.transforms import ToSparseTensor, ToUndirected

from .stores import assert_equal, expected, make, random_parts, refusal

MASKS = ("train_mask", "val_mask", "test_mask")


def data_of(parts: dict[str, NDArray[Any]]) -> Data:
    tensors = {part: torch.from_numpy(values) for part, values in parts.items()}
    data = Data(x=tensors["features"], edge_index=tensors["edges"].t().contiguous(), y=tensors["labels"])
    for split, mask in zip(("train", "valid", "test"), MASKS, strict=True):
        data[mask] = torch.isin(torch.arange(len(tensors["labels"])), tensors[split])
    return data


def saved(folder: Path, data: object) -> dict[str, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old PyG Data and torch's sparse tensors warn
        torch.save(data, folder / "graph.pt")
    return {"data": str(folder / "graph.pt")}


def sparse(data: Data, **options: Any) -> Data:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ToSparseTensor(**options)(data)


@pytest.mark.parametrize("undirected", [False, True])
def test_pyg_data(tmp_path: Path, undirected: bool) -> None:
    parts = random_parts(60, 400)
    files = saved(tmp_path, data_of(parts))
    trusted = torch.serialization.get_safe_globals()
    made = make(tmp_path / "out", files, undirected=undirected)
    assert set(torch.serialization.get_safe_globals()) == set(trusted)
    assert_equal(made, expected(parts, undirected))


def test_after_to_undirected(tmp_path: Path) -> None:
    """PyG then stores what it has inferred about the fields beside them."""
    parts = random_parts(60, 400)
    data = ToUndirected()(data_of(parts))
    assert "_cached_attr" in vars(data._store)
    assert_equal(make(tmp_path / "out", saved(tmp_path, data)), expected(parts, undirected=True))


@pytest.mark.parametrize("layout", [torch.sparse_csr, torch.sparse_coo])
def test_transposed_adjacency_alone(tmp_path: Path, layout: torch.layout) -> None:
    parts = random_parts(60, 400)
    data = sparse(data_of(parts), layout=layout)
    assert "edge_index" not in data
    assert_equal(make(tmp_path / "out", saved(tmp_path, data)), expected(parts))


def test_transposed_adjacency_that_is_none(tmp_path: Path) -> None:
    data = data_of(random_parts(60, 400))
    del data.edge_index
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data.adj_t = torch.eye(60).to_sparse_csc()
    assert "graph.pt adj_t: is torch.sparse_csc, and there is no edge_index; allowed: " in refusal(
        tmp_path, saved(tmp_path, data)
    )
    for pointer in ([0, 5, 2, *[3] * 58], [1, *[3] * 60], [0, *[10**12] * 60]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data.adj_t = torch.sparse_csr_tensor(
                torch.tensor(pointer), torch.arange(3), torch.ones(3), (60, 60), check_invariants=False
            )
        assert "graph.pt" in refusal(tmp_path, saved(tmp_path, data))


def test_layout_of_pyg_1(tmp_path: Path) -> None:
    parts = random_parts(60, 400)
    new = data_of(parts)
    old = Data.__new__(Data)
    vars(old).update({**dict(new.items()), "edge_attr": None, "pos": None})
    assert_equal(make(tmp_path / "out", saved(tmp_path, old)), expected(parts))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64])
def test_several_splits(tmp_path: Path, dtype: torch.dtype) -> None:
    """A mask with one axis beside others with two holds for every split."""
    parts = random_parts(60, 400)
    data = data_of(parts)
    for mask in MASKS:
        data[mask] = data[mask].to(dtype)
    for mask in MASKS[:2]:
        data[mask] = torch.stack([torch.zeros(60, dtype=dtype), data[mask]], dim=1)
    data.y = data.y[:, None]
    files = saved(tmp_path, data)
    assert "train_mask: has no nodes" in refusal(tmp_path, files)
    assert "train_mask: has no split 2; allowed: 0 to 1" in refusal(tmp_path, files, split=2)
    assert_equal(make(tmp_path / "out", files, split=1), expected(parts))


def test_other_data_of_pyg(tmp_path: Path) -> None:
    data = data_of(random_parts(60, 400))
    hetero = HeteroData()
    hetero["a"].x = data.x
    hetero["a", "to", "a"].edge_index = data.edge_index
    assert "graph.pt: holds a HeteroData; allowed: a Data with one" in refusal(tmp_path, saved(tmp_path, hetero))
    batch = Batch.from_data_list([data, data])
    assert "graph.pt: holds a Batch of several graphs; allowed: " in refusal(tmp_path, saved(tmp_path, batch))
    assert "graph.pt: holds a tuple; allowed: a torch_geo" in refusal(tmp_path, saved(tmp_path, (data, None)))


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("x", None, "graph.pt x: is NoneType; allowed: a dense tensor"),
        ("edge_index", None, "graph.pt edge_index: is NoneType"),
        ("edge_index", torch.zeros(3, 5, dtype=torch.int64), "edge_index: has shape (3, 5); allowed: (2, number"),
        ("edge_index", torch.zeros(2, 5), "edge_index: holds float32; allowed: integers"),
        ("edge_index", torch.tensor([[0, 1], [1, 60]]), "graph.pt edge_index row 2: node 60; allowed: 0 to 59"),
        ("y", torch.zeros(60, dtype=torch.bool), "graph.pt y: holds bool; allowed: integers"),
        ("y", torch.full((60, 2), torch.inf), "graph.pt y row 1: inf as label 1; allowed: finite numbers, or nothing"),
        ("x", torch.zeros(59, 2), "graph.pt x: has 59 rows; allowed: 60"),
        ("x", torch.zeros(60, 2).to_sparse(), "graph.pt x: is Tensor; allowed: a dense tensor"),
        ("val_mask", torch.arange(60), "graph.pt val_mask: is torch.int64 of shape (60,); allowed: true and false"),
        ("val_mask", torch.ones(59, dtype=torch.bool), "graph.pt val_mask: has 59 rows; allowed: 60"),
        ("test_mask", torch.ones(60, dtype=torch.bool), "graph.pt test_mask: has node"),
        ("test_mask", torch.ones(60), "graph.pt test_mask: is torch.float32"),
    ],
)
def test_wrong_pyg_data(tmp_path: Path, field: str, value: object, complaint: str) -> None:
    data = data_of(random_parts(60, 400))
    data[field] = value
    assert complaint in refusal(tmp_path, saved(tmp_path, data))


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


def test_no_code_of_a_file_is_run(tmp_path: Path) -> None:
    files = saved(tmp_path, Evil(tmp_path / "owned"))
    assert "graph.pt: holds posix.mkdir; allowed: a Data of" in refusal(tmp_path, files)
    for content in (b"", b"PK\x03\x04", b"\x80\x02."):
        (tmp_path / "graph.pt").write_bytes(content)
        assert "graph.pt: cannot be read" in refusal(tmp_path, files)
    torch.save({"x": torch.zeros(2)}, tmp_path / "graph.pt")
    assert "graph.pt: holds a dict; allowed" in refusal(tmp_path, files)
    broken = Data.__new__(Data)
    vars(broken)["_store"] = {}
    assert "graph.pt: cannot be read" in refusal(tmp_path, saved(tmp_path, broken))
    assert "none.pt: no such file" in refusal(tmp_path, {"data": str(tmp_path / "none.pt")})
