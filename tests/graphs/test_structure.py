"""Features made of the edges alone, against a dense singular value decomposition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ugts_dist.errors import InputError
from ugts_dist.graphs import catalogue
from ugts_dist.graphs.ogb_nodes import STRUCTURE
from ugts_dist.graphs.prepare import prepare
from ugts_dist.graphs.prepare_options import PrepareOptions
from ugts_dist.graphs.structure import NUM_FEATURES, normalised_adjacency, singular_features

from .helpers import snapshot
from .stores import random_parts, write_ogb, write_parts, write_rows


@pytest.fixture(autouse=True)
def _stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UGTS_STORES", str(tmp_path / "stores"))


def raw_folder(root: Path) -> Path:
    """A folder in the raw layout of ogbn-arxiv without features and years."""
    folder = write_ogb(root, "ogbn-arxiv")
    for file in ("node-feat", "node_year"):
        (folder / f"raw/{file}.csv.gz").unlink()
    return folder


def dense_adjacency(edges: NDArray[np.int64], num_nodes: int) -> NDArray[np.float64]:
    """D^-1/2 (A + I) D^-1/2, entry after entry."""
    a = np.eye(num_nodes)
    for source, destination in edges:
        a[source, destination] = a[destination, source] = 1.0
    degree = a.sum(axis=1)
    return np.array(a / np.sqrt(degree[:, None] * degree[None, :]))


def communities(num_nodes: int, groups: int, degree: int) -> NDArray[np.int64]:
    """Random edges, most of them within groups, so that the leading singular values stand apart."""
    rng = np.random.default_rng(1)
    source = rng.integers(0, num_nodes, num_nodes * degree)
    near = (source + groups * rng.integers(0, num_nodes // groups, len(source))) % num_nodes
    far = rng.integers(0, num_nodes, len(source))
    return np.stack([source, np.where(rng.random(len(source)) < 0.95, near, far)], axis=1)


def test_a_raw_folder_without_features_becomes_a_store(tmp_path: Path) -> None:
    folder = raw_folder(tmp_path)
    before = snapshot(folder)
    assert ": arxiv-structure, 60 nodes, " in prepare(PrepareOptions(STRUCTURE, root=str(tmp_path)))
    graph = catalogue.load(STRUCTURE)
    assert snapshot(folder) == before
    edges = np.loadtxt(folder / "raw/edge.csv.gz", dtype=np.int64, delimiter=",")
    adjacency = dense_adjacency(edges, 60)
    # All singular vectors of a small graph are features: X X^T is N S S^T in any basis.
    x = graph.x.double().numpy()
    np.testing.assert_allclose(x @ x.T, 60 * adjacency @ adjacency.T, atol=1e-3)
    connected = (adjacency > 0) & ~np.eye(60, dtype=bool)
    assert graph.degree.tolist() == connected.sum(axis=1).tolist()
    assert graph.y.tolist() == np.loadtxt(folder / "raw/node-label.csv.gz", dtype=np.int64).tolist()
    assert graph.num_classes == 40
    assert graph.train.tolist() == sorted(np.loadtxt(folder / "split/time/train.csv.gz", dtype=np.int64).tolist())


def test_the_same_graph_is_as_with_its_own_features_but_for_these(tmp_path: Path) -> None:
    write_ogb(tmp_path, "ogbn-arxiv")
    for name in ("ogbn-arxiv", STRUCTURE):
        prepare(PrepareOptions(name, root=str(tmp_path)))
    own, structural = catalogue.load("ogbn-arxiv"), catalogue.load(STRUCTURE)
    for array in ("indptr", "indices", "y", "train", "valid", "test"):
        assert getattr(own, array).tolist() == getattr(structural, array).tolist()


def test_two_preparations_have_the_same_bits(tmp_path: Path) -> None:
    raw_folder(tmp_path)
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        prepare(PrepareOptions(STRUCTURE, root=str(tmp_path), out=str(folder)))
    one, two = ((folder / "x.npy").read_bytes() for folder in folders)
    assert one == two


def test_the_leading_singular_vectors_of_a_larger_graph() -> None:
    n, groups = 600, 20
    edges = communities(n, groups, degree=8)
    x = singular_features(normalised_adjacency(edges, n), NUM_FEATURES).astype(np.float64) / np.sqrt(n)
    assert x.shape == (n, NUM_FEATURES)
    vectors, values, _ = np.linalg.svd(dense_adjacency(edges, n))
    lengths = np.linalg.norm(x, axis=0)
    np.testing.assert_allclose(lengths[:groups], values[:groups], rtol=1e-4)
    # Beyond the groups the spectrum has no gap: the method is within some percent there, and never above.
    np.testing.assert_allclose(lengths, values[:NUM_FEATURES], rtol=0.03)
    assert (lengths <= values[:NUM_FEATURES] + 1e-5).all()
    alignment = np.linalg.svd(vectors[:, :groups].T @ (x / lengths)[:, :groups])[1]
    np.testing.assert_allclose(alignment, 1.0, atol=1e-3)


def test_signs_do_not_depend_on_chance() -> None:
    x = singular_features(normalised_adjacency(communities(200, 5, degree=6), 200), 10)
    largest = np.abs(x).argmax(axis=0)
    assert (x[largest, range(10)] > 0).all()


def test_self_loops_repetitions_and_directions_change_nothing() -> None:
    edges = communities(50, 5, degree=3)
    more = np.concatenate([edges, edges[:9, ::-1], edges[:7], np.array([[3, 3], [4, 4]])])
    once = normalised_adjacency(edges, 50).toarray()
    np.testing.assert_array_equal(normalised_adjacency(more, 50).toarray(), once)
    np.testing.assert_allclose(once, dense_adjacency(edges, 50), atol=1e-6)


@pytest.mark.parametrize(
    ("file", "values", "complaint"),
    [
        ("raw/edge.csv.gz", np.array([[0, 1], [60, 2]]), "edge.csv.gz row 2: nodes 60 and 2; allowed: 0 to 59"),
        ("raw/edge.csv.gz", np.array([[0, 1], [3, -1]]), "edge.csv.gz row 2: nodes 3 and -1; allowed: 0 to 59"),
        ("raw/edge.csv.gz", np.array([[0, 1], [3, 2]]), "edge.csv.gz: has 2 rows; allowed: 314, the number of edges"),
        ("raw/num-node-list.csv.gz", np.array([61]), "node-label.csv.gz: has 60 rows; allowed: 61, the number of"),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, file: str, values: NDArray[Any], complaint: str) -> None:
    write_rows(raw_folder(tmp_path) / file, values)
    with pytest.raises(InputError) as error:
        prepare(PrepareOptions(STRUCTURE, root=str(tmp_path)))
    assert complaint in str(error.value)
    assert not any((tmp_path / "stores").glob("*"))


def test_missing_files_are_named(tmp_path: Path) -> None:
    (raw_folder(tmp_path) / "raw/edge.csv.gz").unlink()
    with pytest.raises(InputError, match=r"ogbn_arxiv: arxiv-structure needs raw/edge\.csv\.gz there; unpack"):
        prepare(PrepareOptions(STRUCTURE, root=str(tmp_path)))


def test_files_of_ones_own_may_have_the_name(tmp_path: Path) -> None:
    files = write_parts(tmp_path, random_parts(60, 200))
    prepare(PrepareOptions(STRUCTURE, **files, undirected=True))  # type: ignore[arg-type]
    assert catalogue.load(STRUCTURE).num_features == 3
