"""Graphs without labels or without a split: stores for prediction and links only."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from torch_geometric.data import Data

from ugts_dist.config import Config
from ugts_dist.errors import InputError
from ugts_dist.graphs.checksum import DataChecksum
from ugts_dist.graphs.configured import load_data, load_to_predict, load_undisturbed
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.prepare import prepare, summary
from ugts_dist.graphs.prepare_options import PrepareOptions
from ugts_dist.graphs.store import open_store
from ugts_dist.graphs.store_files import META, meta_sha256
from ugts_dist.graphs.store_writer import write_store
from ugts_dist.graphs.stored_ids import open_ids

from .stores import expected, make, random_parts, refusal, write_parts

NUM_NODES = 50
SPLITS = ("train", "valid", "test")


def files_of(folder: Path, *parts: str, suffix: str = ".npy", **changes: NDArray[np.generic]) -> dict[str, str]:
    """Files of some of the parts of a graph."""
    every = random_parts(NUM_NODES, 400) | changes
    return write_parts(folder, {part: every[part] for part in parts}, suffix)


def without_split(graph: Graph) -> Graph:
    none = torch.empty(0, dtype=torch.int64)
    return replace(graph, train=none, valid=none, test=none)


def assert_arrays(found: Graph, labels: NDArray[np.generic] | None = None) -> None:
    """Features and edges are those of the graph with all parts; there is no split."""
    wanted = expected(random_parts(NUM_NODES, 400))
    for array in ("x", "indptr", "indices"):
        assert torch.equal(getattr(found, array), getattr(wanted, array)), array
    assert found.y.tolist() == (np.full(NUM_NODES, -1) if labels is None else labels).tolist()
    assert [getattr(found, split).tolist() for split in SPLITS] == [[], [], []]
    assert not found.has_split


@pytest.mark.parametrize("suffix", [".npy", ".parquet", ".csv", ".csv.gz"])
def test_without_labels(tmp_path: Path, suffix: str) -> None:
    found = make(tmp_path / "out", files_of(tmp_path, "edges", "features", suffix=suffix))
    assert_arrays(found)
    assert found.num_classes == 0
    meta = json.loads((tmp_path / "out" / META).read_text())
    assert (meta["prediction_only"], meta["num_classes"]) == (True, 0)
    assert " 3 features (float32), no labels, no split: for prediction and links only, " in summary(tmp_path / "out")


def test_with_labels_but_no_split(tmp_path: Path) -> None:
    found = make(tmp_path / "out", files_of(tmp_path, "edges", "features", "labels"))
    assert_arrays(found, random_parts(NUM_NODES, 400)["labels"])
    assert found.num_classes == 4
    assert " 4 classes, no split: for prediction and links only, " in summary(tmp_path / "out")


def test_a_graph_with_a_split_is_described_as_before(tmp_path: Path) -> None:
    make(tmp_path / "out", files_of(tmp_path, "edges", "features", "labels", *SPLITS))
    assert "prediction_only" not in json.loads((tmp_path / "out" / META).read_text())
    assert "only" not in summary(tmp_path / "out")


def test_labels_that_are_all_empty(tmp_path: Path) -> None:
    for labels in (np.full(NUM_NODES, -7), np.full(NUM_NODES, -1)):
        files = files_of(tmp_path, "edges", "features", "labels", labels=labels)
        assert make(tmp_path / f"out{labels[0]}", files).num_classes == 0


def test_ids_that_are_words(tmp_path: Path) -> None:
    """The rows of the features, which have the ids, give the order of the nodes."""
    parts = random_parts(NUM_NODES, 400)
    ids = [f"user {7 * k % NUM_NODES}" for k in range(NUM_NODES)]
    pd.DataFrame(parts["features"]).assign(id=ids).to_csv(tmp_path / "x.csv", index=False)
    ends = {name: [ids[k] for k in parts["edges"][:, end]] for end, name in enumerate(("source", "target"))}
    pd.DataFrame(ends).to_csv(tmp_path / "e.csv", index=False)
    found = make(tmp_path / "out", {"edges": str(tmp_path / "e.csv"), "features": str(tmp_path / "x.csv")})
    assert_arrays(found)
    stored = open_ids(tmp_path / "out", NUM_NODES)
    assert stored is not None
    assert stored.slice(0, NUM_NODES).to_pylist() == ids


def test_ids_in_a_file_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("".join(f"{1000 + k}\n" for k in range(NUM_NODES)))
    files = files_of(tmp_path, "edges", "features", edges=random_parts(NUM_NODES, 400)["edges"] + 1000)
    assert_arrays(make(tmp_path / "out", files | {"ids": str(tmp_path / "ids.txt")}))


@pytest.mark.parametrize("has_labels", [False, True])
def test_a_data_of_pyg(tmp_path: Path, has_labels: bool) -> None:
    parts = random_parts(NUM_NODES, 400)
    data = Data(x=torch.from_numpy(parts["features"]), edge_index=torch.from_numpy(parts["edges"]).t().contiguous())
    if has_labels:
        data.y = torch.from_numpy(parts["labels"])
    torch.save(data, tmp_path / "graph.pt")
    found = make(tmp_path / "out", {"data": str(tmp_path / "graph.pt")})
    assert_arrays(found, parts["labels"] if has_labels else None)


def test_a_data_of_pyg_with_a_part_of_the_rest(tmp_path: Path) -> None:
    parts = random_parts(NUM_NODES, 400)
    data = Data(x=torch.from_numpy(parts["features"]), edge_index=torch.from_numpy(parts["edges"]).t().contiguous())
    torch.save(data, tmp_path / "graph.pt")
    files = {"data": str(tmp_path / "graph.pt")}
    assert "graph.pt y: is NoneType; allowed: a dense" in refusal(tmp_path, files, split_random="60/20/20")
    for mask in ("train_mask", "val_mask", "test_mask"):
        data[mask] = torch.arange(NUM_NODES) % 3 == len(mask) % 3
    torch.save(data, tmp_path / "graph.pt")
    assert "graph.pt y: is NoneType; allowed: a dense tensor" in refusal(tmp_path, files)
    data.y = torch.from_numpy(parts["labels"])
    del data.val_mask
    torch.save(data, tmp_path / "graph.pt")
    assert "graph.pt val_mask: is missing; allowed: a mask over nodes, or a random split" in refusal(tmp_path, files)


def test_features_of_no_rows(tmp_path: Path) -> None:
    files = files_of(tmp_path, "edges", "features", features=np.empty((0, 3)))
    assert refusal(tmp_path, files) == f"{files['features']}: has no rows; allowed: one for each node"


@pytest.mark.parametrize(
    ("parts", "missing", "options"),
    [
        ((), "no labels and no split", "--labels FILE (or y in --data) and --split-random 60/20/20"),
        (("labels",), "no split", "--split-random 60/20/20"),
    ],
)
def test_only_prediction_is_allowed(tmp_path: Path, parts: tuple[str, ...], missing: str, options: str) -> None:
    make(tmp_path / "out", files_of(tmp_path, "edges", "features", *parts))
    config = Config().replace({"data.name": str(tmp_path / "out")})
    for load in (load_data, load_undisturbed):
        with pytest.raises(InputError) as refused:
            load(config)
        assert str(refused.value) == (
            f"mine: has {missing}, enough for `ugts predict` and --task.kind link; for anything else, prepare it "
            f"again with {options} (or --train, --valid and --test); in Python: random_split='60/20/20'"
        )
    found = load_to_predict(config)
    assert isinstance(found, Graph)
    assert found.num_nodes == NUM_NODES


def test_a_part_that_is_absent_differs_from_no_other(tmp_path: Path) -> None:
    """A note about other data names nothing that the graph does not have."""
    whole = expected(random_parts(NUM_NODES, 400))
    assert DataChecksum.of(whole).difference(DataChecksum.of(without_split(whole))) == ""
    bare = replace(whole, x=whole.x + 1.0, y=torch.full_like(whole.y, -1), num_classes=0)
    bare = without_split(bare)
    known = DataChecksum.of(whole)
    assert known.difference(DataChecksum.of(bare)) == "features"
    labelled = without_split(replace(whole, y=(whole.y + 1) % 4))
    assert known.difference(DataChecksum.of(labelled)) == "labels"
    assert known.difference(DataChecksum.of(replace(whole, y=(whole.y + 1) % 4))) == "labels"


@pytest.mark.parametrize("has_split", [False, True])
def test_a_description_that_does_not_fit_the_arrays(tmp_path: Path, has_split: bool) -> None:
    graph = expected(random_parts(NUM_NODES, 400))
    write_store(graph if has_split else without_split(graph), tmp_path / "out")
    meta = json.loads((tmp_path / "out" / META).read_text())
    if has_split:
        meta["prediction_only"] = True
    else:
        del meta["prediction_only"]
    (tmp_path / "out" / META).write_text(json.dumps(meta | {"sha256": meta_sha256(meta)}))
    with pytest.raises(InputError, match="prediction_only does not fit the number of training nodes"):
        open_store(tmp_path / "out")


def test_names_of_classes_are_read_with_the_graph(tmp_path: Path) -> None:
    files = files_of(tmp_path, "edges", "features")
    words = ["dog" if k % 2 else "cat" for k in range(NUM_NODES)]
    pd.DataFrame({"label": words}).to_csv(tmp_path / "y.csv", index=False)
    prepare(PrepareOptions("mine", out=str(tmp_path / "out"), labels=str(tmp_path / "y.csv"), **files))  # type: ignore[arg-type]
    found = open_store(tmp_path / "out")
    assert found.class_names == ("cat", "dog")
    write_store(found, tmp_path / "copy")
    assert open_store(tmp_path / "copy").class_names == ("cat", "dog")
