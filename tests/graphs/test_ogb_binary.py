"""OGB's binary raw folder, read by us and by OGB's own function."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ogb.io.read_graph_raw import read_binary_graph_raw
from torch_geometric.utils import coalesce, remove_self_loops, to_undirected

from ugts_dist.errors import InputError
from ugts_dist.graphs import catalogue, ogb_binary
from ugts_dist.graphs.prepare import prepare
from ugts_dist.graphs.prepare_options import PrepareOptions

from .helpers import snapshot
from .stores import write_rows

NAME, NUM_NODES, NUM_EDGES = "ogbn-papers100M", 60, 300


@pytest.fixture(autouse=True)
def _stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UGTS_STORES", str(tmp_path / "stores"))
    monkeypatch.setattr(ogb_binary, "BLOCK_BYTES", 1 << 10)  # several blocks
    monkeypatch.setattr(ogb_binary, "_SKIPPED_BYTES", 1 << 9)


def arrays() -> dict[str, Any]:
    rng = np.random.default_rng(4)
    edges = rng.integers(0, NUM_NODES, (2, NUM_EDGES))
    edges[:, :20] = edges[:, 20:40]  # repeated ones
    return {
        "edge_index": edges,
        "node_feat": rng.standard_normal((NUM_NODES, 5)).astype(np.float32),
        "node_year": rng.integers(1990, 2020, (NUM_NODES, 1)),
        "num_nodes_list": np.array([NUM_NODES]),
        "num_edges_list": np.array([NUM_EDGES]),
    }


def write(root: Path, save: Callable[..., None] = np.savez_compressed, **changes: Any) -> Path:
    """A folder as OGB's archive has it; a third of the nodes has a label."""
    folder = root / "ogb" / "ogbn_papers100M"
    (folder / "raw").mkdir(parents=True)
    (folder / "split/time").mkdir(parents=True)
    save(folder / "raw/data.npz", **(arrays() | changes))
    label = np.full((NUM_NODES, 1), np.nan, dtype=np.float32)
    order = np.random.default_rng(5).permutation(NUM_NODES)[:20]
    label[order, 0] = np.arange(20) % 172
    save(folder / "raw/node-label.npz", node_label=label)
    for part, nodes in zip(("train", "valid", "test"), np.split(order, [10, 15]), strict=True):
        write_rows(folder / f"split/time/{part}.csv.gz", nodes)
    return folder


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_the_graph_is_that_of_ogb(save: Callable[..., None], tmp_path: Path) -> None:
    folder = write(tmp_path, save)
    before = snapshot(folder)
    prepare(PrepareOptions(NAME, root=str(tmp_path)))
    assert snapshot(folder) == before
    graph = catalogue.load(NAME)
    (raw,) = read_binary_graph_raw(str(folder / "raw"))
    edge_index = to_undirected(torch.from_numpy(raw["edge_index"]))
    edge_index = coalesce(remove_self_loops(edge_index)[0], sort_by_row=False)
    destination = torch.repeat_interleave(torch.arange(NUM_NODES), graph.degree)
    assert torch.equal(torch.stack([graph.indices.long(), destination]), edge_index)
    assert torch.equal(graph.x, torch.from_numpy(raw["node_feat"]))
    label = torch.from_numpy(np.load(folder / "raw/node-label.npz")["node_label"])[:, 0]
    assert torch.equal(graph.y, label.nan_to_num(-1).long())
    assert [part.numel() for part in (graph.train, graph.valid, graph.test)] == [10, 5, 5]
    assert bool((graph.y[torch.cat([graph.train, graph.valid, graph.test])] >= 0).all())
    assert graph.num_classes == 172


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"edge_index": np.zeros((NUM_EDGES, 2), int)}, "edge_index: has shape (300, 2); allowed: (2, 300)"),
        ({"node_feat": np.zeros((59, 5))}, "node_feat: has shape (59, 5); allowed: (60, number of features)"),
        (
            {"node_feat": np.zeros((5, 60)).T},
            "node_feat: is in Fortran order, or no numbers; allowed: numbers in C order",
        ),
        ({"num_nodes_list": np.array([30, 30])}, "has 2 graphs; allowed: one"),
        ({"edge_index": np.full((2, NUM_EDGES), 60)}, "edge_index column 1: node 60; allowed: 0 to 59"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    folder = write(tmp_path, **changes)
    with pytest.raises(InputError) as error:
        prepare(PrepareOptions(NAME, root=str(tmp_path)))
    assert str(error.value) == f"{folder}/raw/data.npz{' ' if complaint[0] != 'h' else ': '}{complaint}"
    assert not (tmp_path / "stores" / NAME).exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path)
    shutil.rmtree(folder / "split")
    with pytest.raises(InputError, match=r"split/time/train\.csv\.gz.*unpack OGB's papers100M-bin\.zip"):
        prepare(PrepareOptions(NAME, root=str(tmp_path)))


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_file_that_ends_early_is_named(kept: float, tmp_path: Path) -> None:
    path = write(tmp_path) / "raw/data.npz"
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(InputError) as error:
        prepare(PrepareOptions(NAME, root=str(tmp_path)))
    assert str(error.value).startswith(f"{path}: cannot be read (")
    assert "\n" not in str(error.value)


def test_a_fraction_is_no_class(tmp_path: Path) -> None:
    path = write(tmp_path) / "raw/node-label.npz"
    label = np.full((NUM_NODES, 1), np.nan, dtype=np.float32)
    label[7] = 1.5
    np.savez(path, node_label=label)
    with pytest.raises(InputError, match=r"node_label row 8: 1\.5; allowed: classes, or NaN for none$"):
        prepare(PrepareOptions(NAME, root=str(tmp_path)))
