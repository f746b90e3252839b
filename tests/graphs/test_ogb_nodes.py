"""OGB's raw folders, read by us and by OGB's own functions."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import ogb.nodeproppred
import pytest
import torch
from numpy.typing import NDArray
from ogb.io.read_graph_raw import read_csv_graph_raw
from ogb.nodeproppred import PygNodePropPredDataset
from torch_geometric.utils import coalesce, remove_self_loops, to_undirected

from ugts_dist.errors import InputError
from ugts_dist.graphs import catalogue
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.ogb_nodes import DATASETS, STRUCTURE
from ugts_dist.graphs.prepare import prepare
from ugts_dist.graphs.prepare_options import PrepareOptions

from .helpers import snapshot
from .stores import write_ogb, write_rows

NAMES = tuple(name for name in DATASETS if name != STRUCTURE)  # as OGB has them


@pytest.fixture(autouse=True)
def _stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UGTS_STORES", str(tmp_path / "stores"))


def read(name: str, root: Path) -> Graph:
    prepare(PrepareOptions(name, root=str(root)))
    return catalogue.load(name)


def ogb_says(name: str, what: str) -> str:
    """An entry of OGB's own table of its datasets."""
    with Path(ogb.nodeproppred.__file__).with_name("master.csv").open() as file:
        return next(row[name] for row in csv.DictReader(file) if row[""] == what)


@pytest.mark.parametrize("name", NAMES)
def test_the_graph_is_that_of_ogb(tmp_path: Path, name: str) -> None:
    folder = write_ogb(tmp_path, name)
    before = snapshot(folder)
    graph = read(name, tmp_path)
    assert snapshot(folder) == before
    (raw,) = read_csv_graph_raw(str(folder / "raw"), add_inverse_edge=ogb_says(name, "add_inverse_edge") == "True")
    edge_index = torch.from_numpy(raw["edge_index"])
    if name == "ogbn-arxiv":
        edge_index = to_undirected(edge_index)
    edge_index = coalesce(remove_self_loops(edge_index)[0], sort_by_row=False)
    destination = torch.repeat_interleave(torch.arange(60), graph.degree)
    assert torch.equal(torch.stack([graph.indices.long(), destination]), edge_index)
    assert torch.equal(graph.x, torch.from_numpy(raw["node_feat"]))
    labels = np.loadtxt(folder / "raw/node-label.csv.gz", dtype=np.int64)
    assert graph.y.tolist() == labels.tolist()
    assert graph.num_classes == int(ogb_says(name, "num classes"))
    assert graph.num_nodes == raw["num_nodes"]


@pytest.mark.parametrize("name", NAMES)
def test_the_split_is_that_of_ogb(tmp_path: Path, name: str) -> None:
    folder = write_ogb(tmp_path, name)
    graph = read(name, tmp_path)
    dataset = PygNodePropPredDataset.__new__(PygNodePropPredDataset)  # its constructor does more than the test needs
    dataset.root = str(folder)
    dataset.is_hetero = False
    wanted = dataset.get_idx_split(ogb_says(name, "split"))
    for split in ("train", "valid", "test"):
        assert getattr(graph, split).tolist() == sorted(wanted[split].tolist())


@pytest.mark.parametrize("name", NAMES)
def test_missing_files_are_named(tmp_path: Path, name: str) -> None:
    folder = write_ogb(tmp_path, name)
    gone = ("raw/node-feat.csv.gz", f"split/{DATASETS[name].split}/valid.csv.gz")
    for file in gone:
        (folder / file).unlink()
    before = snapshot(tmp_path)
    with pytest.raises(InputError) as error:
        read(name, tmp_path)
    assert str(error.value).startswith(f"{folder}: {name} needs {', '.join(gone)} there; unpack OGB's ")
    assert "\n" not in str(error.value)
    assert snapshot(tmp_path) == before


def test_the_data_folder_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_ogb(tmp_path / "data", "ogbn-arxiv")
    with pytest.raises(InputError, match=r"home/\.cache/ugts_dist/data/ogb/ogbn_arxiv: ogbn-arxiv needs raw/edge"):
        prepare(PrepareOptions("ogbn-arxiv"))
    monkeypatch.setenv("UGTS_DATA", str(tmp_path / "data"))
    assert prepare(PrepareOptions("ogbn-arxiv")).startswith(f"{tmp_path}/stores/ogbn-arxiv: ogbn-arxiv, 60 nodes, ")


def test_year_and_format_folder_are_not_needed(tmp_path: Path) -> None:
    folder = write_ogb(tmp_path, "ogbn-arxiv")
    (folder / "raw/node_year.csv.gz").unlink()
    assert read("ogbn-arxiv", tmp_path).num_nodes == 60


@pytest.mark.parametrize(
    ("file", "values", "complaint"),
    [
        (
            "raw/num-node-list.csv.gz",
            np.array([61]),
            "node-label.csv.gz: has 60 rows; allowed: 61, the number of nodes",
        ),
        ("raw/num-edge-list.csv.gz", np.array([9]), "edge.csv.gz: has 314 rows; allowed: 9, the number of edges"),
        ("raw/num-edge-list.csv.gz", np.array([9, 9]), "num-edge-list.csv.gz: has 2 rows of 1 numbers; allowed: one"),
        ("raw/node-label.csv.gz", np.full(60, 40), "node-label.csv.gz: node 0 has label 40; allowed: 0 to 39"),
        ("raw/node-feat.csv.gz", np.ones((59, 5)), "node-feat.csv.gz: has 59 rows; allowed: 60"),
        ("raw/edge.csv.gz", np.array([[0, 1], [60, 2]]), "edge.csv.gz row 2: node 60; allowed: 0 to 59"),
        ("split/time/valid.csv.gz", np.array([60]), "valid.csv.gz row 1: node 60; allowed: 0 to 59"),
        ("split/time/valid.csv.gz", np.array([1.5]), "valid.csv.gz row 1: '1.5' in column 1; allowed: ids"),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, file: str, values: NDArray[Any], complaint: str) -> None:
    write_rows(write_ogb(tmp_path, "ogbn-arxiv") / file, values)
    with pytest.raises(InputError) as error:
        read("ogbn-arxiv", tmp_path)
    assert complaint in str(error.value)
    assert not any((tmp_path / "stores").glob("*"))


def test_a_torn_archive(tmp_path: Path) -> None:
    path = write_ogb(tmp_path, "ogbn-products") / "raw/edge.csv.gz"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"edge\.csv\.gz"):
        read("ogbn-products", tmp_path)
