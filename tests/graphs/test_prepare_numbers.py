"""`ugts prepare` reads several labels or targets of each node from files of every kind."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from torch_geometric.data import Data

from ugts_dist.errors import InputError
from ugts_dist.graphs import tables
from ugts_dist.graphs.prepare import prepare, summary
from ugts_dist.graphs.prepare_options import PrepareOptions
from ugts_dist.graphs.stored_ids import open_ids

from .stores import assert_equal, expected, make, random_parts, refusal, write_parts

NUM_NODES = 50
SPLITS = ("train", "valid", "test")


def targets(columns: int = 2, seed: int = 0) -> NDArray[np.float32]:
    """Some of them unknown, but not all of a node."""
    rng = np.random.default_rng(seed)
    y = rng.normal(100.0, 7.0, (NUM_NODES, columns)).astype(np.float32)
    y[rng.random(NUM_NODES) < 0.3, 0] = np.nan
    return y


def files_of(folder: Path, labels: NDArray[Any], suffix: str = ".npy") -> dict[str, str]:
    """Files of a graph with these labels, which are written with empty fields for NaN."""
    files = write_parts(folder, random_parts(NUM_NODES, 400))
    if suffix == ".npy":
        np.save(files["labels"], labels)
        return files
    table = pd.DataFrame(labels, columns=[f"t{k}" for k in range(labels.shape[1])])
    return files | {"labels": write_table(folder / f"labels{suffix}", table)}


def write_table(path: Path, table: pd.DataFrame) -> str:
    if path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False)
    return str(path)


def same(a: torch.Tensor, b: NDArray[Any]) -> bool:
    return a.dtype == torch.float32 and np.array_equal(a.numpy(), b.astype(np.float32), equal_nan=True)


@pytest.mark.parametrize("suffix", [".npy", ".parquet", ".csv", ".csv.gz"])
def test_targets_in_files_of_every_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    """In blocks of a few rows."""
    monkeypatch.setattr(tables, "BLOCK_BYTES", 256)
    y = targets()
    graph = make(tmp_path / "out", files_of(tmp_path, y, suffix))
    assert same(graph.y, y)
    assert (graph.num_classes, graph.class_names, graph.has_classes) == (2, (), False)
    assert ", 2 targets, " in summary(tmp_path / "out")
    wanted = expected(random_parts(NUM_NODES, 400))
    for part in ("x", "indptr", "indices", *SPLITS):
        assert torch.equal(getattr(graph, part), getattr(wanted, part))


@pytest.mark.parametrize("dtype", [np.int64, np.bool_, np.float16, np.uint8])
def test_tables_of_zeros_and_ones(tmp_path: Path, dtype: type) -> None:
    y: NDArray[Any] = np.random.default_rng(1).integers(0, 2, (NUM_NODES, 3)).astype(dtype)
    assert same(make(tmp_path / "out", files_of(tmp_path, y)).y, y)
    assert ", 3 labels at once, " in summary(tmp_path / "out")


def test_booleans_of_which_some_are_unknown(tmp_path: Path) -> None:
    y = pd.DataFrame({"a": [True, None, False] * 20, "b": [None, True, True] * 20})[:NUM_NODES]
    wanted = y.astype(float).to_numpy()
    for suffix in (".csv", ".parquet"):
        files = files_of(tmp_path, np.zeros(NUM_NODES)) | {"labels": write_table(tmp_path / f"y{suffix}", y)}
        assert same(make(tmp_path / f"out{suffix}", files).y, wanted)


@pytest.mark.parametrize("suffix", [".npy", ".parquet", ".csv"])
def test_one_column(tmp_path: Path, caplog: pytest.LogCaptureFixture, suffix: str) -> None:
    """Fractions are targets; whole numbers are classes, unless the user says that they are targets."""
    counts = np.random.default_rng(2).integers(0, 5, (NUM_NODES, 1))
    (tmp_path / "fractions").mkdir()
    assert same(make(tmp_path / "a", files_of(tmp_path / "fractions", targets(2)[:, 1:], suffix)).y, targets(2)[:, 1:])
    assert ", 1 target, " in summary(tmp_path / "a")
    files = files_of(tmp_path, counts, suffix)
    assert_equal(make(tmp_path / "b", files), expected(random_parts(NUM_NODES, 400) | {"labels": counts[:, 0]}))
    assert "whole numbers" not in caplog.text
    assert same(make(tmp_path / "c", files, numbers=True).y, counts)
    assert "whole numbers" not in caplog.text


def test_whole_numbers_with_a_point(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    y = np.arange(NUM_NODES) % 3.0
    assert same(make(tmp_path / "out", files_of(tmp_path, y)).y, y[:, None])
    assert "labels.npy: whole numbers with a point are read as targets; write classes as integers" in caplog.text


def test_a_column_without_a_number(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    y = targets(3, seed=1)
    y[:, 1] = np.nan
    make(tmp_path / "out", files_of(tmp_path, y, ".csv"))
    assert "labels.csv: no node has a number of label 2" in caplog.text


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_ids_that_are_words_and_a_drawn_split(tmp_path: Path, suffix: str) -> None:
    """Rows in an order of their own, some nodes without a row or a number; the split is drawn from the others."""
    rng = np.random.default_rng(3)
    parts, y = random_parts(NUM_NODES, 400), targets()
    y[:5], ids = np.nan, [f"user {k}" for k in range(NUM_NODES)]
    order = rng.permutation(np.arange(3, NUM_NODES))  # nodes 0 to 2 have no row, 3 and 4 no number
    table = pd.DataFrame(y[order], columns=["price", "age"])
    table.insert(0, "id", [ids[k] for k in order])
    ends = {name: [ids[k] for k in parts["edges"][:, end]] for end, name in enumerate(("source", "target"))}
    features = pd.DataFrame(parts["features"], columns=["a", "b", "c"]).assign(id=ids)
    files = {
        "edges": write_table(tmp_path / f"e{suffix}", pd.DataFrame(ends)),
        "features": write_table(tmp_path / f"x{suffix}", features),
        "labels": write_table(tmp_path / f"y{suffix}", table),
    }
    graph = make(tmp_path / "out", files, split_random="60/20/20")
    assert same(graph.y, y)
    drawn = torch.cat([graph.train, graph.valid, graph.test]).sort().values
    assert drawn.tolist() == list(range(5, NUM_NODES))
    stored = open_ids(tmp_path / "out", NUM_NODES)
    assert stored is not None
    assert stored.slice(0, NUM_NODES).to_pylist() == ids
    # One of the two columns, and both in another order.
    assert same(make(tmp_path / "one", files, split_random="60/20/20", label_columns=("age",)).y, y[:, 1:])
    assert same(make(tmp_path / "two", files, split_random="60/20/20", label_columns=("3", "price")).y, y[:, ::-1])


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_with_features_and_labels(tmp_path: Path, suffix: str) -> None:
    parts, y = random_parts(NUM_NODES, 400), targets()
    table = pd.DataFrame(parts["features"], columns=["a", "b", "c"]).assign(price=y[:, 0], age=y[:, 1])
    table.insert(2, "kind", [*"xyz", "x", "y"] * 10)
    nodes = write_table(tmp_path / f"nodes{suffix}", table.drop(columns="kind"))
    files = write_parts(tmp_path, parts) | {"features": nodes, "labels": nodes}
    graph = make(tmp_path / "out", files, label_columns=("price", "age"))
    assert same(graph.y, y)
    assert same(graph.x, parts["features"])
    nodes = write_table(tmp_path / f"more{suffix}", table.drop(columns=["price", "age"]))
    graph = make(tmp_path / "words", files | {"features": nodes, "labels": nodes}, label_columns=("kind",))
    assert graph.class_names == ("x", "y", "z")
    assert same(graph.x, parts["features"])
    assert "nodes" in refusal(tmp_path, files)
    assert "allowed: that and --label-columns NAME" in refusal(tmp_path, files)


def test_labels_without_a_split(tmp_path: Path) -> None:
    files = files_of(tmp_path, targets())
    graph = make(tmp_path / "out", {part: files[part] for part in ("edges", "features", "labels")})
    assert same(graph.y, targets())
    assert not graph.has_split
    assert ", 2 targets, no split: for prediction and links only, " in summary(tmp_path / "out")


def data_of(y: torch.Tensor) -> Data:
    parts = {part: torch.from_numpy(values) for part, values in random_parts(NUM_NODES, 400).items()}
    data = Data(x=parts["features"], edge_index=parts["edges"].t().contiguous(), y=y)
    for mask, split in zip(("train_mask", "val_mask", "test_mask"), SPLITS, strict=True):
        data[mask] = torch.zeros(NUM_NODES, dtype=torch.bool).index_fill(0, parts[split], True)
    return data


@pytest.mark.parametrize(
    ("y", "numbers", "labels"),
    [
        (torch.from_numpy(targets()), False, "2 targets"),
        (torch.from_numpy(targets(seed=4)[:, 1]).double(), False, "1 target"),
        (torch.arange(NUM_NODES)[:, None] % torch.tensor([2, 3]) == 1, False, "2 labels at once"),
        (torch.arange(NUM_NODES)[:, None] % torch.tensor([5, 3]), False, "2 targets"),
        (torch.arange(NUM_NODES) % 4, True, "1 target"),
    ],
)
def test_a_data_of_pyg(tmp_path: Path, y: torch.Tensor, numbers: bool, labels: str) -> None:
    torch.save(data_of(y), tmp_path / "graph.pt")
    graph = make(tmp_path / "out", {"data": str(tmp_path / "graph.pt")}, numbers=numbers)
    assert same(graph.y, y.reshape(NUM_NODES, -1).numpy())
    assert f", {labels}, " in summary(tmp_path / "out")
    drawn = make(tmp_path / "drawn", {"data": str(tmp_path / "graph.pt")}, numbers=numbers, split_random="50/25/25")
    assert drawn.train.numel() == NUM_NODES // 2


def test_refused_options(tmp_path: Path) -> None:
    files = files_of(tmp_path, targets(), ".csv")
    assert refusal(tmp_path, files, num_classes=2) == (
        f"--num-classes: not for {files['labels']}, which has numbers and no classes"
    )
    assert "--label-columns: 'price'; allowed: columns of " in refusal(tmp_path, files, label_columns=("price",))
    assert "(t0, t1), each once" in refusal(tmp_path, files, label_columns=("t0", "1"))
    none = {part: files[part] for part in ("edges", "features")}
    for option in ({"numbers": True}, {"label_columns": ("a",)}):
        assert refusal(tmp_path, none, **option).endswith(": not for a graph without --labels")
    torch.save(data_of(torch.zeros(NUM_NODES)), tmp_path / "graph.pt")
    data = {"data": str(tmp_path / "graph.pt")}
    assert refusal(tmp_path, data, label_columns=("a",)) == "--label-columns: not for --data, which has all parts"
    with pytest.raises(InputError, match="--numbers: not for the dataset cora"):
        prepare(PrepareOptions("cora", numbers=True))


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npy"])
@pytest.mark.parametrize("value", [np.inf, -1e39])
def test_numbers_that_are_not_finite(tmp_path: Path, suffix: str, value: float) -> None:
    y = targets().astype(np.float64)
    y[7, 1] = value
    files = files_of(tmp_path, y, suffix)
    complaint = refusal(tmp_path, files)
    row = 9 if suffix == ".csv" else 8  # with the header
    assert f"{files['labels']} row {row}: {value} as label 2; allowed: finite numbers, or nothing" in complaint


def test_words_among_numbers(tmp_path: Path) -> None:
    files = files_of(tmp_path, targets(), ".csv")
    path = Path(files["labels"])
    lines = path.read_text().splitlines()
    lines[20] = "none,100.0"
    path.write_text("\n".join(lines) + "\n")
    assert f"{path} row 21: 'none' in column 1; allowed: numbers, or nothing" in refusal(tmp_path, files)
    kinds = pd.DataFrame({"a": ["x", "y"] * 25, "b": ["u", "v"] * 25})
    files["labels"] = write_table(path, kinds)
    assert "column 'a' has words; allowed: numbers, with 2 columns of labels" in refusal(tmp_path, files)
    files["labels"] = write_table(path, kinds[["a"]])
    assert "column 'a' has words; allowed: numbers, with --numbers" in refusal(tmp_path, files, numbers=True)


def test_a_fraction_far_below_whole_numbers(tmp_path: Path) -> None:
    """The type of a column is that of its first rows."""
    parts = random_parts(300, 400)
    y = np.arange(300.0) % 7
    y[250] = 2.5
    files = write_parts(tmp_path, parts) | {"labels": str(tmp_path / "y.csv")}
    Path(files["labels"]).write_text("y\n" + "".join(f"{value:g}\n" for value in y))
    assert refusal(tmp_path, files).endswith("row 252: '2.5' in column 1; allowed: integers, or --numbers, for targets")
    assert same(make(tmp_path / "out", files, numbers=True).y, y[:, None])


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npy"])
def test_a_node_of_a_split_without_a_number(tmp_path: Path, suffix: str) -> None:
    y = targets()
    node = int(random_parts(NUM_NODES, 400)["valid"].min())
    y[node] = np.nan
    files = files_of(tmp_path, y, suffix)
    row = node + (2 if suffix == ".csv" else 1)
    assert f"{files['labels']} row {row}: no number, but its node is in valid; allowed: " in refusal(tmp_path, files)
    np.save(tmp_path / "none.npy", np.full((NUM_NODES, 2), np.nan))
    complaint = refusal(tmp_path, files | {"labels": str(tmp_path / "none.npy")})
    assert complaint == f"{tmp_path}/none.npy: has no number; allowed: at least one, or no labels"


def test_rows_that_do_not_fit(tmp_path: Path) -> None:
    files = files_of(tmp_path, targets()[:-1])
    assert "features.npy: has 50 rows; allowed: 49" in refusal(tmp_path, files)


def test_the_first_column_may_have_ids(tmp_path: Path) -> None:
    y = targets(seed=5)
    table = pd.DataFrame({"a": np.random.default_rng(0).permutation(1000)[:NUM_NODES], "b": y[:, 0], "c": y[:, 1]})
    files = files_of(tmp_path, y) | {"labels": write_table(tmp_path / "y.csv", table)}
    complaint = refusal(tmp_path, files)
    assert "column 'a' has another entry in each row, as ids have; allowed: --id-column a, --id-col" in complaint
    assert same(make(tmp_path / "out", files, id_column="none").y, table.to_numpy())


def test_a_first_row_that_ends_with_an_unknown_number(tmp_path: Path) -> None:
    """A header has no name that is empty behind others."""
    y = targets(1)
    y[0] = np.nan
    files = files_of(tmp_path, y)
    rows = "".join(f"{k},{'' if np.isnan(value) else value}\n" for k, value in enumerate(y[:, 0].tolist()))
    (tmp_path / "y.csv").write_text(rows)
    files = {part: files[part] for part in ("edges", "features")} | {"labels": str(tmp_path / "y.csv")}
    assert same(make(tmp_path / "out", files).y, y)
