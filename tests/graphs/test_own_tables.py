"""Tables of a user's own, with ids of their own and in any order: the store has every row at its own node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ugts_dist.errors import InputError
from ugts_dist.graphs import classes, node_ids, tables
from ugts_dist.graphs.csv_files import open_text
from ugts_dist.graphs.node_ids import NodeIds
from ugts_dist.graphs.store_files import read_meta
from ugts_dist.graphs.store_writer import StoreWriter
from ugts_dist.graphs.stored_ids import open_ids, write_ids

from .stores import assert_equal, expected, make, random_parts, refusal

NUM_NODES = 60


def ids_of(kind: str, rng: np.random.Generator) -> list[Any]:
    """An id for each node."""
    numbers = rng.permutation(10**6)[:NUM_NODES].tolist()
    if kind == "text":
        return [f"n\u00f8de {number}, {'x' * (number % 50)}" for number in numbers]
    return numbers if kind == "sparse" else list(range(NUM_NODES))


def write_table(path: Path, table: pd.DataFrame) -> str:
    if path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False)
    return str(path)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("kind", ["text", "sparse", "dense"])
def test_every_table_in_an_order_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, suffix: str
) -> None:
    """In blocks of a few rows."""
    monkeypatch.setattr(tables, "BLOCK_BYTES", 512)
    monkeypatch.setattr(node_ids, "_LEAST_ROWS", 16)
    rng = np.random.default_rng(0)
    parts = random_parts(NUM_NODES, 400)
    ids = ids_of(kind, rng)
    order = rng.permutation(NUM_NODES)
    of_node = {node: k for k, node in enumerate(order.tolist())}
    nodes = pd.DataFrame(parts["features"], columns=["a", "b", "c"]).assign(key=ids)[["a", "key", "b", "c"]]
    labels = pd.DataFrame({"key": ids, "class": parts["labels"]})
    ends = pd.DataFrame({"from": [ids[a] for a, _ in parts["edges"]], "to": [ids[b] for _, b in parts["edges"]]})
    files = {
        "features": write_table(tmp_path / f"f{suffix}", nodes.iloc[order]),
        "labels": write_table(tmp_path / f"l{suffix}", labels.iloc[rng.permutation(NUM_NODES)]),
        "edges": write_table(tmp_path / f"e{suffix}", ends),
    }
    for split in ("train", "valid", "test"):
        table = pd.DataFrame({"key": [ids[k] for k in parts[split]]})
        files[split] = write_table(tmp_path / f"{split}{suffix}", table)
    made = make(tmp_path / "out", files, id_column="key")
    if kind != "dense":  # nodes are numbered as the features are
        moved: dict[str, NDArray[Any]] = {"features": parts["features"][order], "labels": parts["labels"][order]}
        moved |= {part: np.vectorize(of_node.get)(parts[part]) for part in ("edges", "train", "valid", "test")}
        parts = moved
    assert_equal(made, expected(parts))
    stored = open_ids(tmp_path / "out", NUM_NODES)
    if kind == "dense":
        assert stored is None
    else:
        assert stored is not None
        pieces = [stored.slice(first, min(7, NUM_NODES - first)) for first in range(0, NUM_NODES, 7)]
        assert pa.concat_arrays(pieces).to_pylist() == [ids[k] for k in order]


def test_features_in_half_precision_in_any_order(tmp_path: Path) -> None:
    parts = random_parts(NUM_NODES, 400)
    order = np.random.default_rng(1).permutation(NUM_NODES)
    files = {part: str(tmp_path / f"{part}.npy") for part in parts}
    for part, values in parts.items():
        np.save(files[part], values)
    np.save(files["features"], np.concatenate([np.arange(NUM_NODES)[:, None], parts["features"]], axis=1)[order])
    made = make(tmp_path / "half", files, dtype="bfloat16")
    assert torch.equal(made.x, torch.from_numpy(parts["features"]).bfloat16())
    features = np.load(files["features"])
    features[3, 2] = np.nan
    np.save(files["features"], features)
    assert f"row 4: nan as feature 1 of node {order[3]}; allowed" in refusal(tmp_path, files)


def test_the_first_row_of_ids_and_splits_that_are_words(tmp_path: Path) -> None:
    parts = random_parts(26, 100)
    letters = [chr(ord("a") + k) for k in range(26)]
    files = {part: str(tmp_path / f"{part}.npy") for part in parts}
    for part, values in parts.items():
        np.save(files[part], values)
    np.save(tmp_path / "ids.npy", np.array(letters))
    edges = "".join(f"{letters[a]},{letters[b]}\n" for a, b in parts["edges"])
    for header in ("", "one,other\n"):
        (tmp_path / "edges.csv").write_text(header + edges)
        more = {"ids": str(tmp_path / "ids.npy"), "edges": str(tmp_path / "edges.csv")}
        assert_equal(make(tmp_path / f"out{len(header)}", files | more), expected(parts))


@pytest.mark.parametrize(
    ("text", "first_row"),
    [
        ("0,1\n2,3\n", "numbers"),
        ("0,1,2\n0.5,1.5,2\n0.1,0.2,3\n", "header of numbers"),
        ("0\ncat\ndog\n", "header of numbers"),
        ("0\n0.5\n", "numbers"),
        (",0,1\n0,3,4\n", "names"),
        ("id,0\n5,3\n", "names"),
        ("id,label\na,b\n", "names"),
        ("x,y\na,b\n", "text"),
        ("x,y\n1,b\n", "names"),
        ("1,abc\n3,4\n", "values"),
        (",2\n3,4\n", "values"),
        ("True\nFalse\n", "values"),
        ("user,0.5\nother,0.7\n", "values"),
        ("# a comment\n% another\n0.5\t1\n", "values"),
    ],
)
def test_what_a_first_row_is(tmp_path: Path, text: str, first_row: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    assert open_text(tmp_path / "t.csv").first_row == first_row


@pytest.mark.parametrize(
    ("text", "separator", "decimal"),
    [
        ("1,2\n3,4\n", ",", "."),
        ("0,5;1,5\n2,5;3\n", ";", ","),
        ("1.5;2\n2.5;3\n", ";", "."),
        ("1\t2\n", "\t", "."),
        ("1 2\n", " ", "."),
        ("machine learning\ndata mining\n", ",", "."),
        ("a b,1\nc d,2\n", ",", "."),
        ('"x;y",1\n"z",2\n', ",", "."),
    ],
)
def test_separators(tmp_path: Path, text: str, separator: str, decimal: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    file = open_text(tmp_path / "t.csv")
    assert (file.separator, file.decimal) == (separator, decimal)


def test_ids_with_zeros_in_front_are_words(tmp_path: Path) -> None:
    """The ids 007 and 7 are different."""
    (tmp_path / "t.csv").write_text("id,a\n007,1\n012,2\n")
    rows = open_text(tmp_path / "t.csv").opened(header=True)
    assert rows.types_found == ("mixed", "integers")
    ids, _ = node_ids.read_ids(rows, 0, "text")
    assert ids.values is not None
    assert ids.values.to_pylist() == ["007", "012"]


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.lists(st.integers(-2, 30) | st.integers(0, 2**62), min_size=1, max_size=40))
def test_labels_without_gaps(labels: list[int]) -> None:
    numbered, names = classes.without_gaps(np.array(labels))
    present = sorted({label for label in labels if label >= 0})
    for label, number in zip(labels, numbered.tolist(), strict=True):
        assert number == (present.index(label) if label >= 0 else label)
    assert names in ((), tuple(map(str, present)))
    assert (not names) == (present == list(range(len(present))))


def test_classes_that_are_words(tmp_path: Path) -> None:
    labels, names = classes.of_words(pa.array(["dog", "cat", "", " dog", "cat"], pa.large_string()))
    assert (labels.tolist(), names) == ([1, 0, -1, 1, 0], ("cat", "dog"))


def test_damaged_ids_are_refused(tmp_path: Path) -> None:
    """Any flipped bit gives other ids, or one line of refusal."""
    ids = NodeIds("ids.csv", "text", pa.array(["a", "bcd", "", "\u00e4"], pa.large_string()), 4)
    with StoreWriter(tmp_path / "store", "mine", 2) as store:
        write_ids(ids, store)
        parts = random_parts(4, 10)
        store.write("y", np.dtype(np.int64), [np.arange(4) % 2])
        store.write("x", np.dtype(np.float32), [parts["features"]], (3,))
        store.write("indptr", np.dtype(np.int64), [np.zeros(5)])
        store.write("indices", np.dtype(np.int32), [np.zeros(0)])
        for split, node in (("train", 0), ("valid", 1), ("test", 2)):
            store.write(split, np.dtype(np.int64), [np.array([node])])
        store.finish()
    assert set(read_meta(tmp_path / "store").extra_arrays) == {"id_ends", "id_bytes"}
    refused = 0
    for array in ("id_ends", "id_bytes"):
        path = tmp_path / "store" / f"{array}.npy"
        whole = path.read_bytes()
        for bit in range(128 * 8, len(whole) * 8):
            damaged = bytearray(whole)
            damaged[bit // 8] ^= 1 << bit % 8
            path.write_bytes(damaged)
            try:
                opened = open_ids(tmp_path / "store", 4)
                assert opened is not None
                assert len(opened.slice(0, 4)) == 4
            except InputError:
                refused += 1
        path.write_bytes(whole)
    assert refused > 250
