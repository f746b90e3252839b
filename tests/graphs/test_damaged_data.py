"""Every wrong raw file gives one line that names it."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from ugts_dist.errors import InputError
from ugts_dist.graphs.catalogue import load

from .helpers import npz_arrays, snapshot, write_npz, write_planetoid, write_webkb

PICKLES = ("x", "tx", "allx", "y", "ty", "ally", "graph")
NPZ = "amazon/Photo/raw/amazon_electronics_photo.npz"


def refused(name: str, root: Path) -> str:
    """Load, expect a refusal of one line and an untouched folder, and return the line."""
    before = snapshot(root)
    with pytest.raises(InputError) as caught:
        load(name, root)
    assert snapshot(root) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def cora(tmp_path: Path) -> Path:
    folder = tmp_path / "data/planetoid/Cora/raw"
    write_planetoid(folder, "cora")
    return folder


@pytest.fixture
def texas(tmp_path: Path) -> Path:
    folder = tmp_path / "data/webkb/texas/raw"
    write_webkb(folder, "texas")
    return folder


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "garbage": lambda content: bytes(range(256)),
    "text": lambda content: b"<!DOCTYPE html><html>404 Not Found</html>\n",
    "another pickle": lambda content: pickle.dumps({"a": 1}),
    "a number": lambda content: pickle.dumps(3),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("part", [*PICKLES, "test.index"])
def test_damaged_planetoid_file(part: str, damage: str, cora: Path, tmp_path: Path) -> None:
    path = cora / f"ind.cora.{part}"
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    assert refused("cora", tmp_path / "data").startswith(f"{path}: cannot be read (")


class Hostile:
    """A pickle that runs a command when it is loaded."""

    def __init__(self, function: Callable[..., Any], *args: object) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.args


@pytest.mark.parametrize("part", PICKLES)
def test_hostile_pickle_runs_nothing(part: str, cora: Path, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        attacks = [
            Hostile(os.system, f"touch {witness}"),
            Hostile(exec, f"open({str(witness)!r}, 'w')"),
            Hostile(getattr, list, "append"),
            Hostile(np.memmap, str(witness), "u1", "w+", 0, (1,)),
            {0: [Hostile(os.mkdir, str(witness))]},
        ]
        for attack in attacks:
            path = cora / f"ind.cora.{part}"
            path.write_bytes(pickle.dumps(attack, protocol=protocol))
            told = refused("cora", tmp_path / "data")
            assert told.startswith(f"{path}: cannot be read (UnpicklingError: the global ")
            assert not witness.exists()


@pytest.mark.parametrize(
    "content",
    [
        np.array([[object()]]),
        np.array([["text"]]),
        np.array([[1j]]),
        np.ones(3),
        np.ones((2, 2, 2)),
        [[1]],
        "text",
    ],
    ids=["objects", "strings", "complex", "vector", "cube", "list", "string"],
)
def test_pickle_that_is_no_matrix(content: object, cora: Path, tmp_path: Path) -> None:
    path = cora / "ind.cora.ally"
    path.write_bytes(pickle.dumps(content, protocol=4))
    assert refused("cora", tmp_path / "data").startswith(f"{path}: cannot be read (")


def test_sparse_indices_outside_the_matrix(cora: Path, tmp_path: Path) -> None:
    matrix = sp.csr_matrix(np.ones((600, 12), dtype=np.float32))
    matrix.indices[5] = 10**6  # scipy's own conversion would write there
    path = cora / "ind.cora.allx"
    path.write_bytes(pickle.dumps(matrix, protocol=4))
    assert refused("cora", tmp_path / "data").startswith(f"{path}: cannot be read (ValueError")


@pytest.mark.parametrize(
    ("part", "shape", "told"),
    [
        ("tx", (60, 11), "has 11 columns; allowed: 12, as in ind.cora.allx"),
        ("tx", (59, 12), "has 60 rows; allowed: 59, as in ind.cora.tx"),
        ("ty", (60, 2), "has 2 columns; allowed: 3, as in ind.cora.ally"),
        ("ally", (601, 3), "has 601 rows; allowed: 600, as in ind.cora.allx"),
    ],
)
def test_matrices_that_do_not_fit(part: str, shape: tuple[int, int], told: str, cora: Path, tmp_path: Path) -> None:
    (cora / f"ind.cora.{part}").write_bytes(pickle.dumps(np.ones(shape), protocol=4))
    assert refused("cora", tmp_path / "data").endswith(told)


def test_features_that_are_not_numbers(cora: Path, tmp_path: Path) -> None:
    features = np.ones((600, 12))
    features[17, 3] = np.nan
    (cora / "ind.cora.allx").write_bytes(pickle.dumps(features, protocol=4))
    assert refused("cora", tmp_path / "data").startswith("cora: x has nan at node 17, feature 3; allowed: finite")


@pytest.mark.parametrize("neighbour", [-1, 660, 10**12])
def test_edge_out_of_range(neighbour: int, cora: Path, tmp_path: Path) -> None:
    (cora / "ind.cora.graph").write_bytes(pickle.dumps({0: [1, neighbour]}, protocol=2))
    told = refused("cora", tmp_path / "data")
    assert told == f"cora: edge_index has node {neighbour}; allowed: 0 to 659"


@pytest.mark.parametrize("graph", [{}, {0: []}, {0: ["a"]}, {0: 1}, {"a": [1]}, {0: [10**30]}, {0: [0.5]}])
def test_neighbours_that_are_none(graph: object, cora: Path, tmp_path: Path) -> None:
    path = cora / "ind.cora.graph"
    path.write_bytes(pickle.dumps(graph, protocol=2))
    assert refused("cora", tmp_path / "data").startswith(f"{path}: cannot be read (")


@pytest.mark.parametrize("lines", ["600\n600\n", "0\n1\n", "600\n1000000000000\n", "600\n-5\n", "6e2\n", "\xff"])
def test_test_ids_that_are_none(lines: str, cora: Path, tmp_path: Path) -> None:
    path = cora / "ind.cora.test.index"
    rest = "".join(f"{node}\n" for node in range(602, 660))
    path.write_bytes((lines + rest).encode("latin1"))
    assert refused("cora", tmp_path / "data").startswith(f"{path}: cannot be read (")


@pytest.mark.parametrize("part", ["allx", "graph", "y"])
def test_flipped_bytes_are_refused_or_harmless(part: str, cora: Path, tmp_path: Path) -> None:
    path = cora / f"ind.cora.{part}"
    intact = path.read_bytes()
    rng = np.random.default_rng(0)
    told = []
    for _ in range(60):
        content = bytearray(intact)
        # Most of the file is numbers; the structure is at its ends.
        places = rng.integers(0, min(400, len(content)), 2) * rng.choice([1, -1], 2)
        content[places[0]] ^= int(rng.integers(1, 256))
        content[places[1]] ^= int(rng.integers(1, 256))
        path.write_bytes(content)
        try:
            load("cora", tmp_path / "data")
        except InputError as error:
            told.append(str(error))
    assert len(told) > 10
    assert not any("\n" in line for line in told)


@pytest.mark.parametrize("damage", ["empty", "truncated", "garbage", "text", "another pickle"])
def test_damaged_npz(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "data" / NPZ
    write_npz(path)
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    assert refused("amazon-photo", tmp_path / "data").startswith(f"{path}: cannot be read (")


def changed(**changes: Any) -> dict[str, Any]:
    return npz_arrays() | changes


def test_npz_with_a_pickle_inside_runs_nothing(tmp_path: Path) -> None:
    path, witness = tmp_path / "data" / NPZ, tmp_path / "witness"
    attack = np.empty(1, dtype=object)
    attack[0] = Hostile(os.mkdir, str(witness))
    write_npz(path, changed(labels=attack))
    assert refused("amazon-photo", tmp_path / "data").startswith(f"{path}: cannot be read (ValueError")
    assert not witness.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"attr_indices": npz_arrays()["attr_indices"] + 100},
        {"adj_indices": npz_arrays()["adj_indices"] - 50},
        {"adj_indptr": npz_arrays()["adj_indptr"][::-1]},
        {"adj_shape": np.array([240, 239])},
        {"adj_shape": np.array([10**9, 10**9])},
        {"attr_shape": np.array([7])},
        {"attr_data": npz_arrays()["attr_data"][:-1]},
        {"labels": np.arange(239) % 3},
        {"labels": np.array(["a"] * 240)},
    ],
)
def test_npz_arrays_that_do_not_fit(changes: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "data" / NPZ
    write_npz(path, changed(**changes))
    assert refused("amazon-photo", tmp_path / "data").startswith(f"{path}: cannot be read (")


def test_npz_without_an_array(tmp_path: Path) -> None:
    path = tmp_path / "data" / NPZ
    arrays = npz_arrays()
    del arrays["adj_indptr"]
    write_npz(path, arrays)
    told = refused("amazon-photo", tmp_path / "data")
    assert told.startswith(f"{path}: cannot be read (KeyError")
    assert "adj_indptr" in told


def test_npz_features_that_are_not_numbers(tmp_path: Path) -> None:
    data = npz_arrays()["attr_data"]
    data[0] = np.nan
    write_npz(tmp_path / "data" / NPZ, changed(attr_data=data))
    assert refused("amazon-photo", tmp_path / "data").startswith("amazon-photo: x has nan at node 0")


def test_npz_negative_label(tmp_path: Path) -> None:
    labels = npz_arrays()["labels"]
    labels[4] = -1
    write_npz(tmp_path / "data" / NPZ, changed(labels=labels))
    # Without a label a node can be in no split; it is left out of them, and the rest is used.
    graph = load("amazon-photo", tmp_path / "data")
    assert graph.train.numel() + graph.valid.numel() + graph.test.numel() == 239


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("out1_graph_edges.txt", b""),
        ("out1_graph_edges.txt", b"node_id\tnode_id\n"),
        ("out1_graph_edges.txt", b"node_id\tnode_id\n1\t2\n3\n"),
        ("out1_graph_edges.txt", b"node_id\tnode_id\n1\tx\n"),
        ("out1_graph_edges.txt", b"node_id\tnode_id\n1\t2\t3\n"),
        ("out1_graph_edges.txt", b"\xff\xfe\x00"),
        ("out1_node_feature_label.txt", b""),
        ("out1_node_feature_label.txt", b"node_id\tfeature\tlabel\n0\t1,0\n"),
        ("out1_node_feature_label.txt", b"node_id\tfeature\tlabel\n0\t1,0\t1\n1\t1\t0\n"),
        ("out1_node_feature_label.txt", b"node_id\tfeature\tlabel\n0\t1,a\t1\n"),
        ("out1_node_feature_label.txt", b"node_id\tfeature\tlabel\n7\t1,0\t1\n"),
        ("texas_split_0.6_0.2_0.npz", b""),
        ("texas_split_0.6_0.2_0.npz", b"PK\x03\x04 and then nothing"),
    ],
)
def test_damaged_webkb_file(file: str, content: bytes, texas: Path, tmp_path: Path) -> None:
    (texas / file).write_bytes(content)
    assert refused("texas", tmp_path / "data").startswith(f"{texas / file}: cannot be read (")


def test_webkb_mask_of_another_length(texas: Path, tmp_path: Path) -> None:
    path = texas / "texas_split_0.6_0.2_0.npz"
    np.savez(path, train_mask=np.ones(39), val_mask=np.ones(40), test_mask=np.ones(40))
    told = refused("texas", tmp_path / "data")
    assert told.startswith(f"{path}: cannot be read (ValueError: train_mask has shape (39,), expected (40,))")


def test_webkb_splits_that_are_bad(texas: Path, tmp_path: Path) -> None:
    path = texas / "texas_split_0.6_0.2_0.npz"
    one, none = np.eye(1, 40)[0], np.zeros(40)
    np.savez(path, train_mask=one, val_mask=none, test_mask=1 - one)
    assert refused("texas", tmp_path / "data") == "texas: valid has no nodes; allowed: at least one"
    np.savez(path, train_mask=one, val_mask=1 - one, test_mask=one)
    assert refused("texas", tmp_path / "data").startswith("texas: test has node 0, which is also in train")


def test_webkb_edge_and_label_out_of_range(texas: Path, tmp_path: Path) -> None:
    path = texas / "out1_graph_edges.txt"
    path.write_text("node_id\tnode_id\n1\t40\n")
    assert refused("texas", tmp_path / "data") == "texas: edge_index has node 40; allowed: 0 to 39"
    write_webkb(tmp_path / "again/webkb/texas/raw", "texas")
    path = tmp_path / "again/webkb/texas/raw/out1_node_feature_label.txt"
    path.write_text(path.read_text().replace("\t2\n", "\t-2\n"))
    assert refused("texas", tmp_path / "again").startswith("texas: y has label -2 of node 2; allowed: 0 to 1")


def test_no_question_on_standard_input(texas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr("sys.stdin", closed)
    (texas / "out1_graph_edges.txt").write_bytes(b"")
    refused("texas", tmp_path / "data")
    refused("wisconsin", tmp_path / "data")
