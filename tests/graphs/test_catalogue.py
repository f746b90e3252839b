from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.datasets import Coauthor, Planetoid, WebKB
from torch_geometric.io import read_npz, read_planetoid_data
from torch_geometric.transforms import NormalizeFeatures
from torch_geometric.utils import remove_self_loops

from ugts_dist.errors import InputError
from ugts_dist.graphs import splits
from ugts_dist.graphs.catalogue import NAMES, load
from ugts_dist.graphs.graph import Graph

from .helpers import snapshot, write_npz, write_planetoid, write_webkb

old_pickles = pytest.mark.filterwarnings("ignore")  # PyG's own reader of them warns


def edges(graph: Graph) -> set[tuple[int, int]]:
    destination = torch.arange(graph.num_nodes).repeat_interleave(graph.degree)
    return set(zip(graph.indices.tolist(), destination.tolist(), strict=True))


def assert_equals(graph: Graph, data: Data) -> None:
    """PyG's data has the same features (as PyG normalises them), labels and edges."""
    assert torch.equal(graph.x, NormalizeFeatures()(data).x)
    assert torch.equal(graph.y, data.y)
    pairs, _ = remove_self_loops(data.edge_index)
    assert edges(graph) == set(map(tuple, pairs.t().tolist()))


def ids(mask: Tensor) -> list[int]:
    return mask.nonzero().squeeze(1).tolist()


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("cora", (2708, 10556, 1433, 7, 140, 500, 1000)),
        ("citeseer", (3327, 9104, 3703, 6, 120, 500, 1000)),
        ("texas", (183, 325 - 16, 1703, 5, 87, 59, 37)),  # 16 of the file's 325 edges are self loops
        ("amazon-computers", (13752, 2 * 245861, 767, 10, 200, 300, 13252)),
        ("coauthor-physics", (34493, 2 * 247962, 8415, 5, 100, 150, 34243)),
    ],
)
def test_published_counts(name: str, counts: tuple[int, ...], data_root: Path) -> None:
    graph = load(name, data_root)
    sizes = (len(graph.train), len(graph.valid), len(graph.test))
    assert (graph.num_nodes, graph.num_edges, graph.num_features, graph.num_classes, *sizes) == counts


@old_pickles
@pytest.mark.parametrize(("name", "folder"), [("cora", "Cora"), ("citeseer", "CiteSeer")])
def test_planetoid_equals_pyg(name: str, folder: str, data_root: Path, tmp_path: Path) -> None:
    shutil.copytree(data_root / "planetoid" / folder / "raw", tmp_path / folder / "raw")
    data = Planetoid(str(tmp_path), folder)[0]
    graph = load(name, data_root)
    assert_equals(graph, data)
    assert graph.train.tolist() == ids(data.train_mask)
    assert graph.valid.tolist() == ids(data.val_mask)
    assert graph.test.tolist() == ids(data.test_mask)


@old_pickles
@pytest.mark.parametrize("isolated", [False, True])
def test_raw_planetoid_layout_equals_pyg(isolated: bool, tmp_path: Path) -> None:
    # PyG fills the gaps among the test ids for CiteSeer only.
    name, folder = ("citeseer", "CiteSeer") if isolated else ("pubmed", "PubMed")
    raw = tmp_path / "planetoid" / folder / "raw"
    write_planetoid(raw, name, isolated)
    data = read_planetoid_data(str(raw), folder)
    graph = load(name, tmp_path)
    assert_equals(graph, data)
    assert graph.train.tolist() == ids(data.train_mask)
    assert graph.valid.tolist() == ids(data.val_mask)
    assert graph.test.tolist() == ids(data.test_mask)


@pytest.mark.parametrize("name", ["texas", "cornell", "wisconsin"])
def test_webkb_equals_pyg(name: str, tmp_path: Path) -> None:
    write_webkb(tmp_path / "webkb" / name / "raw", name)
    shutil.copytree(tmp_path / "webkb", tmp_path / "copy")
    data = WebKB(str(tmp_path / "copy"), name)[0]
    for split in range(10):
        graph = load(name, tmp_path, split)
        assert_equals(graph, data)
        assert graph.train.tolist() == ids(data.train_mask[:, split])
        assert graph.valid.tolist() == ids(data.val_mask[:, split])
        assert graph.test.tolist() == ids(data.test_mask[:, split])


def test_texas_equals_pyg(data_root: Path, tmp_path: Path) -> None:
    shutil.copytree(data_root / "webkb" / "texas" / "raw", tmp_path / "texas" / "raw")
    data = WebKB(str(tmp_path), "texas")[0]
    assert data.num_edges == 325
    graph = load("texas", data_root, split=7)
    assert_equals(graph, data)
    assert graph.train.tolist() == ids(data.train_mask[:, 7])


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("amazon-computers", "amazon/Computers/raw/amazon_electronics_computers.npz"),
        ("amazon-photo", "amazon/Photo/raw/amazon_electronics_photo.npz"),
        ("coauthor-cs", "coauthor/CS/raw/ms_academic_cs.npz"),
        ("coauthor-physics", "coauthor/Physics/raw/ms_academic_phy.npz"),
    ],
)
def test_npz_equals_pyg(name: str, path: str, tmp_path: Path) -> None:
    write_npz(tmp_path / path)
    assert_equals(load(name, tmp_path), read_npz(str(tmp_path / path)))


def test_amazon_equals_pyg(data_root: Path) -> None:
    path = data_root / "amazon/Computers/raw/amazon_electronics_computers.npz"
    assert_equals(load("amazon-computers", data_root), read_npz(str(path)))


def test_features_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "amazon/Photo/raw/amazon_electronics_photo.npz"
    write_npz(path)
    assert torch.equal(load("amazon-photo", tmp_path, row_normalize=False).x, read_npz(str(path)).x)


def test_digits_are_joined_to_their_nearest() -> None:
    graph = load("digits", row_normalize=False)
    pixels, labels = load_digits(return_X_y=True)
    assert torch.equal(graph.x, torch.from_numpy(pixels / 16).float())
    assert graph.y.tolist() == labels.tolist()
    both = edges(graph)
    assert both == {(destination, source) for source, destination in both}
    distances, _ = NearestNeighbors(n_neighbors=11).fit(pixels).kneighbors(pixels)
    furthest = (distances[:, 1:].max(axis=1) ** 2).round()
    chosen = np.zeros(1797, dtype=np.int64)
    for source, destination in both:
        distance = np.square(pixels[source] - pixels[destination]).sum()
        # Each edge exists because one of its ends is among the other's ten nearest.
        assert distance <= max(furthest[source], furthest[destination])
        chosen[destination] += distance <= furthest[destination]
    assert (chosen >= 10).all()


def test_drawn_splits_follow_shchur() -> None:
    y = torch.arange(600) % 4
    for split in (0, 1, 12345):
        train, valid, test = splits.stratified("toy", y, split)
        assert y[train].bincount().tolist() == [20] * 4
        assert y[valid].bincount().tolist() == [30] * 4
        assert torch.cat([train, valid, test]).sort().values.tolist() == list(range(600))


def test_drawn_splits_are_the_same_everywhere() -> None:
    y = torch.arange(600) % 4
    first, _, _ = splits.stratified("toy", y, 0)
    other, _, _ = splits.stratified("toy", y, 1)
    assert first.tolist() != other.tolist()
    # Written down once: another machine or library version must draw these.
    assert first[:10].tolist() == FIRST_TRAINING_NODES


FIRST_TRAINING_NODES = [28, 34, 39, 40, 47, 54, 55, 57, 95, 99]


def test_drawn_splits_are_even() -> None:
    y = torch.zeros(60, dtype=torch.int64)
    counts = torch.zeros(60)
    for split in range(300):
        counts[splits.stratified("toy", y, split)[0]] += 1
    # Binomial(300, 1/3): mean 100, standard deviation 8.2.
    assert counts.min() > 65
    assert counts.max() < 135


@pytest.mark.parametrize("split", [1, 2, 12345])
def test_redrawn_splits_of_citeseer_leave_the_test_nodes_alone(split: int, data_root: Path) -> None:
    public, other = load("citeseer", data_root), load("citeseer", data_root, split)
    assert torch.equal(other.x, public.x)
    assert torch.equal(other.test, public.test)
    assert other.y[other.train].bincount().tolist() == public.y[public.train].bincount().tolist() == [20] * 6
    assert sorted([*other.train.tolist(), *other.valid.tolist()]) == list(range(620))
    assert other.train.tolist() == sorted(other.train.tolist())
    assert other.valid.tolist() == sorted(other.valid.tolist())
    shared = np.intersect1d(other.train.numpy(), public.train.numpy()).size
    assert 5 <= shared <= 45  # of 120, about a fifth: a node is drawn as often wherever it stood


def test_redrawn_splits_are_even_and_the_same_everywhere() -> None:
    y, train, valid = torch.arange(90) % 3, torch.arange(15), torch.arange(20, 80)
    counts = torch.zeros(90)
    for split in range(1, 301):
        first, second = splits.redrawn(y, train, valid, split)
        assert y[first].bincount().tolist() == [5, 5, 5]
        assert sorted([*first.tolist(), *second.tolist()]) == [*range(15), *range(20, 80)]
        counts[first] += 1
    # Binomial(300, 1/5): mean 60, standard deviation 6.9.
    drawn = torch.cat([train, valid])
    assert counts[drawn].min() > 30
    assert counts[drawn].max() < 90
    # Written down once, as above.
    assert splits.redrawn(y, train, valid, 1)[0].tolist() == FIRST_REDRAWN_NODES


FIRST_REDRAWN_NODES = [1, 3, 8, 20, 21, 24, 40, 47, 49, 52, 54, 65, 68, 78, 79]


def test_a_small_class_cannot_be_split() -> None:
    with pytest.raises(InputError, match="toy: y has 50 nodes of class 0; allowed: at least 51"):
        splits.stratified("toy", torch.zeros(50, dtype=torch.int64), 0)


def test_root_before_variable_before_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_npz(tmp_path / "given/amazon/Photo/raw/amazon_electronics_photo.npz")
    monkeypatch.setenv("UGTS_DATA", str(tmp_path / "given"))
    assert load("amazon-photo").num_nodes == 240
    with pytest.raises(InputError, match=r"^data.root: amazon-photo needs amazon_electronics_photo.npz in"):
        load("amazon-photo", tmp_path / "elsewhere")
    monkeypatch.setenv("UGTS_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(InputError, match=r"^UGTS_DATA: amazon-photo needs amazon_electronics_photo.npz in"):
        load("amazon-photo")
    assert load("amazon-photo", tmp_path / "given").num_nodes == 240
    assert not (tmp_path / "elsewhere").exists()


def test_given_root_is_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_planetoid(tmp_path / "planetoid/Cora/raw", "cora")
    write_webkb(tmp_path / "webkb/texas/raw", "texas")
    (tmp_path / "webkb/texas/raw/out1_graph_edges.txt").unlink()
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    sys.stdin.close()  # a question would now raise
    before = snapshot(tmp_path)
    load("cora", tmp_path)
    with pytest.raises(InputError, match=r"texas needs out1_graph_edges.txt in .*webkb/texas/raw; put them"):
        load("texas", tmp_path)
    assert snapshot(tmp_path) == before


def test_missing_files_are_named_all(tmp_path: Path) -> None:
    write_planetoid(tmp_path / "planetoid/Cora/raw", "cora")
    for part in ("tx", "graph"):
        (tmp_path / f"planetoid/Cora/raw/ind.cora.{part}").unlink()
    with pytest.raises(InputError, match=r"needs ind.cora.tx, ind.cora.graph in .*planetoid/Cora/raw"):
        load("cora", tmp_path)


def test_download_into_the_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_planetoid(tmp_path / "server", "cora")
    monkeypatch.setattr(Planetoid, "url", (tmp_path / "server").as_uri())
    graph = load("cora")
    shutil.rmtree(tmp_path / "server")
    again = load("cora")  # from the cache
    assert torch.equal(graph.x, again.x)
    folder = tmp_path / "home/.cache/ugts_dist/data/planetoid/Cora/raw"
    assert {path.name for path in folder.iterdir()} == {
        f"ind.cora.{part}" for part in ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")
    }


def test_webkb_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_webkb(tmp_path / "server/new_data/texas", "texas")
    (tmp_path / "server/splits").mkdir()
    for path in (tmp_path / "server/new_data/texas").glob("*.npz"):
        path.rename(tmp_path / "server/splits" / path.name)
    monkeypatch.setattr(WebKB, "url", (tmp_path / "server").as_uri())
    assert load("texas", split=9).num_nodes == 40


def test_no_network_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Coauthor, "url", "http://127.0.0.1:1/")  # no process listens
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(InputError) as caught:
        load("coauthor-cs")
    told = str(caught.value)
    assert told.startswith("coauthor-cs: http://127.0.0.1:1/ms_academic_cs.npz cannot be downloaded (URLError")
    assert "coauthor/CS/raw" in told
    assert "UGTS_DATA" in told
    assert "\n" not in told
    assert not list(tmp_path.rglob("*ms_academic*"))


@pytest.mark.parametrize("name", ["Cora", "corra", "cora "])
def test_unknown_name_with_close_matches(name: str) -> None:
    with pytest.raises(InputError) as caught:
        load(name)
    assert f"data.name: {name!r} is not a dataset (did you mean cora" in str(caught.value)
    assert all(known in str(caught.value) for known in NAMES)


def test_unknown_name_without_close_matches() -> None:
    with pytest.raises(InputError, match=r"^data.name: 'zzz' is not a dataset; allowed: cora, citeseer,"):
        load("zzz")


@pytest.mark.parametrize(
    ("name", "split", "allowed"),
    [
        ("cora", -1, "0 or more"),
        ("texas", 10, "0 to 9"),
        ("texas", -1, "0 to 9"),
        ("digits", -1, "0 or more"),
        ("coauthor-cs", -2, "0 or more"),
    ],
)
def test_split_out_of_range(name: str, split: int, allowed: str) -> None:
    with pytest.raises(InputError, match=f"^data.split: {split} is not a split of {name}; allowed: {allowed}$"):
        load(name, split=split)
