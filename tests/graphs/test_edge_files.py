"""Weights and features of edges in the user's files and in PyG's Data, as `ugts prepare` reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from torch_geometric.data import Data
from torch_geometric.utils import to_undirected

from tests.graphs.stores import assert_equal, make, random_parts, refusal, write_parts, write_rows
from tests.graphs.test_pyg_data import data_of, saved, sparse
from ugts_dist.graphs import raw_edges, tables
from ugts_dist.graphs.graph import Graph, from_edges

N = 50
Parts = dict[str, NDArray[Any]]


def weighted_parts(num_edges: int = 400) -> tuple[Parts, NDArray[Any], NDArray[Any]]:
    """A graph's parts, a weight for each row of its edges, and features, equal for both directions of an edge."""
    parts = random_parts(N, num_edges)
    weight = np.random.default_rng(7).integers(0, 32, num_edges) / 4  # sums are exact
    attr = np.stack([parts["edges"].sum(axis=1), parts["edges"].prod(axis=1) / 2], axis=1)
    return parts, weight, attr


def wanted(parts: Parts, weight: NDArray[Any] | None, attr: NDArray[Any] | None, undirected: bool = False) -> Graph:
    """The same graph, by PyG's `to_undirected` and sums of the weights."""
    tensors = {part: torch.from_numpy(values) for part, values in parts.items()}
    ends = tensors["edges"].t()
    w, a = (None if values is None else torch.from_numpy(values).float() for values in (weight, attr))
    if undirected:
        both = torch.cat([ends, ends.flip(0)], dim=1)
        a = None if a is None else torch.cat([a, a])
        if w is not None:
            apart = ends[0] != ends[1]
            index, sums = to_undirected(ends[:, apart], w[apart], reduce="add")
            by_pair = {(int(s), int(d)): float(v) for (s, d), v in zip(index.t(), sums, strict=True)}
            first = {pair: row for row, pair in reversed(list(enumerate(map(tuple, both.t().tolist()))))}
            w = torch.zeros(both.size(1))
            for pair, row in first.items():
                w[row] = by_pair.get(pair, 0.0)
        ends = both
    train, valid, test = (tensors[split] for split in ("train", "valid", "test"))
    return from_edges(
        "mine", tensors["features"], ends, tensors["labels"], train, valid, test, edge_weight=w, edge_attr=a
    )


def table(parts: Parts, **columns: NDArray[Any]) -> pd.DataFrame:
    return pd.DataFrame({"source": parts["edges"][:, 0], "target": parts["edges"][:, 1], **columns})


def with_edges(folder: Path, parts: Parts, edges: pd.DataFrame, suffix: str = ".csv") -> dict[str, Any]:
    """The files of a graph, whose edges have a header."""
    path = folder / f"table{suffix}"
    edges.to_parquet(path) if suffix == ".parquet" else edges.to_csv(path, index=False)
    return {**write_parts(folder, parts), "edges": str(path)}


@pytest.mark.parametrize("undirected", [False, True])
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_columns_of_the_edges(tmp_path: Path, suffix: str, undirected: bool) -> None:
    parts, weight, attr = weighted_parts()
    files = with_edges(tmp_path, parts, table(parts, sum=attr[:, 0], Weight=weight, half=attr[:, 1]), suffix)
    found = make(tmp_path / "out", files, undirected=undirected, edge_features=("sum", "half"))
    assert_equal(found, wanted(parts, weight, attr, undirected))


@pytest.mark.parametrize("shape", [(400,), (400, 1)])
def test_files_beside_the_edges(tmp_path: Path, shape: tuple[int, ...]) -> None:
    parts, weight, attr = weighted_parts()
    files = write_parts(tmp_path, parts)
    weights = write_rows(tmp_path / "edge_weight.npy", weight.reshape(shape))
    features = write_rows(tmp_path / "edge_attr.npy", attr.astype(np.float32))
    found = make(tmp_path / "out", files, edge_weight=weights, edge_features=(features,))
    assert_equal(found, wanted(parts, weight, attr))


def test_columns_by_number(tmp_path: Path) -> None:
    parts, weight, attr = weighted_parts()
    files = write_parts(tmp_path, parts)
    rows = np.concatenate([parts["edges"], (4 * weight[:, None]).astype(np.int64), parts["edges"][:, :1]], axis=1)
    files["edges"] = write_rows(tmp_path / "rows.csv", rows)
    found = make(tmp_path / "out", files, edge_weight="3", edge_features=("4",))
    alone = make(tmp_path / "alone", files)
    assert found.edge_weight is not None
    assert found.edge_attr is not None
    assert torch.equal(found.edge_weight, wanted(parts, 4 * weight, None).edge_weight)  # type: ignore[arg-type]
    assert torch.equal(found.edge_attr[:, 0], found.indices.float())
    assert alone.edge_weight is None
    assert attr.shape == (400, 2)


def test_small_blocks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts, weight, attr = weighted_parts(3000)
    files = with_edges(tmp_path, parts, table(parts, weight=weight))
    features = write_rows(tmp_path / "attr.parquet", attr)
    make(tmp_path / "large", files, undirected=True, edge_features=(features,))
    monkeypatch.setattr(tables, "BLOCK_BYTES", 512)
    monkeypatch.setattr(raw_edges, "LEAST_MEMORY", 4096)
    monkeypatch.setattr(raw_edges, "MOST_MEMORY", 4096)
    make(tmp_path / "small", files, undirected=True, edge_features=(features,))
    for path in (tmp_path / "large").glob("*.npy"):
        assert path.read_bytes() == (tmp_path / "small" / path.name).read_bytes(), path.name


def test_ids_of_words(tmp_path: Path) -> None:
    """Weights belong to rows, whatever the ids."""
    parts, weight, _ = weighted_parts()
    edges = table(parts, weight=weight)
    names = np.array([f"n{node}" for node in range(N)])
    edges["source"], edges["target"] = names[edges["source"]], names[edges["target"]]
    files = with_edges(tmp_path, parts, edges)
    files["ids"] = write_rows(tmp_path / "ids.csv", names, header="id")
    assert_equal(make(tmp_path / "out", files), wanted(parts, weight, None))


def test_what_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts, weight, attr = weighted_parts()
    files = with_edges(tmp_path, parts, table(parts, weight=weight, half=attr[:, 1]))
    plain = wanted(parts, None, None)
    assert_equal(make(tmp_path / "plain", files, edge_weight="none"), plain)
    told = capsys.readouterr().err
    assert "table.csv: column 'weight', column 'half' not used (see --edge-weight and --edge-features)" in told
    make(tmp_path / "out", files)
    told = capsys.readouterr().err
    assert "table.csv: column 'weight' has the weights of the edges; --edge-weight none leaves it out" in told
    apart = int((parts["edges"][:, 0] != parts["edges"][:, 1]).sum())
    assert f"{apart - plain.num_edges} edges are repeated, and the weights of equal edges are summed" in told


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("-0.5", "table.csv row 9: -0.5 as a weight; allowed: finite numbers, 0 or more, or --edge-weight none"),
        ("inf", "table.csv row 9: inf as a weight; allowed: finite numbers, 0 or more, or --edge-weight none"),
        ("1e39", "table.csv row 9: 1e+39 as a weight; allowed: finite numbers, 0 or more, or --edge-weight none"),
        ("heavy", "table.csv row 9: 'heavy' in column 3; allowed: numbers"),
        ("", "table.csv row 9: no value in column 3; allowed: numbers"),
    ],
)
def test_a_bad_weight_is_named_by_file_and_row(tmp_path: Path, value: str, told: str) -> None:
    parts, weight, _ = weighted_parts()
    words = weight.astype(str).astype(object)
    words[7] = value
    files = with_edges(tmp_path, parts, table(parts, weight=words))
    assert refusal(tmp_path, files).endswith(told)


def test_bad_options_and_files(tmp_path: Path) -> None:
    parts, weight, attr = weighted_parts()
    files = with_edges(tmp_path, parts, table(parts, weight=weight, half=attr[:, 1]))
    columns = f"a column of {files['edges']} (weight, half)"
    assert refusal(tmp_path, files, edge_weight="w") == f"--edge-weight: 'w'; allowed: {columns}, or a file, or none"
    told = refusal(tmp_path, files, edge_features=("half", "w"))
    assert told == f"--edge-features: 'w'; allowed: {columns}, or one file"
    assert refusal(tmp_path, files, edge_weight="no.npy") == "no.npy: no such file"
    short = write_rows(tmp_path / "short.npy", weight[:-1])
    assert refusal(tmp_path, files, edge_weight=short).endswith(
        "short.npy: has 399 rows; allowed: more, one for each edge"
    )
    long = write_rows(tmp_path / "long.npy", np.append(weight, 1.0))
    assert refusal(tmp_path, files, edge_weight=long).endswith(
        "has more than 400 rows; allowed: 400, one for each edge"
    )
    known = {**files, "edges": write_rows(tmp_path / "known.npy", parts["edges"])}
    assert refusal(tmp_path, known, edge_weight=long).endswith("has 401 rows; allowed: 400, one for each edge")
    wide = write_rows(tmp_path / "wide.npy", attr)
    assert refusal(tmp_path, files, edge_weight=wide).endswith("has 2 columns; allowed: 1, of weights")
    differing = write_rows(tmp_path / "differing.npy", np.arange(400.0))
    assert "occurs with different features; allowed" in refusal(tmp_path, files, edge_features=(differing,))
    attr[5, 1] = np.nan
    damaged = write_rows(tmp_path / "damaged.npy", attr)
    told = refusal(tmp_path, files, edge_features=(damaged,))
    assert told.endswith("damaged.npy row 6: nan as edge feature 1; allowed: finite numbers")


# PyG's Data


def weighted_data() -> tuple[Data, Parts, NDArray[Any], NDArray[Any]]:
    parts, weight, attr = weighted_parts()
    data = data_of(parts)
    data.edge_weight, data.edge_attr = torch.from_numpy(weight), torch.from_numpy(attr)
    return data, parts, weight, attr


@pytest.mark.parametrize("undirected", [False, True])
def test_fields_of_a_data(tmp_path: Path, undirected: bool) -> None:
    data, parts, weight, attr = weighted_data()
    found = make(tmp_path / "out", saved(tmp_path, data), undirected=undirected)
    assert_equal(found, wanted(parts, weight, attr, undirected))


@pytest.mark.parametrize("layout", [torch.sparse_csr, torch.sparse_coo])
def test_values_of_adj_t(tmp_path: Path, layout: int) -> None:
    data, parts, weight, _ = weighted_data()
    del data.edge_attr
    data.edge_weight = data.edge_weight.float()
    data = sparse(data, layout=layout)
    assert "edge_weight" not in data
    assert_equal(make(tmp_path / "out", saved(tmp_path, data)), wanted(parts, weight, None))


def test_fields_that_are_left_out(tmp_path: Path) -> None:
    data, parts, weight, attr = weighted_data()
    files = saved(tmp_path, data)
    assert_equal(make(tmp_path / "a", files, edge_weight="none"), wanted(parts, None, attr))
    assert_equal(make(tmp_path / "w", files, edge_features=("none",)), wanted(parts, weight, None))
    told = refusal(tmp_path, files, edge_features=("a", "b"))
    assert told == "--edge-features: 'a b'; allowed with --data: none, which leaves out what the Data has"


def test_bad_fields(tmp_path: Path) -> None:
    data, *_ = weighted_data()
    data.edge_weight[3] = -1.0
    told = refusal(tmp_path, saved(tmp_path, data))
    assert told.endswith(
        "graph.pt edge_weight row 4: -1.0 as a weight; allowed: finite numbers, 0 or more, or --edge-weight none"
    )
    data.edge_weight = torch.ones(7)
    assert refusal(tmp_path, saved(tmp_path, data)).endswith("edge_weight: has 7 rows; allowed: 400, one for each edge")
    data.edge_weight = "heavy"
    assert refusal(tmp_path, saved(tmp_path, data)).endswith("edge_weight: is str; allowed: a dense tensor")
