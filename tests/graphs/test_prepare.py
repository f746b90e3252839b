from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch_geometric.data import Data
from torch_geometric.transforms import NormalizeFeatures

from ugts_dist.errors import InputError
from ugts_dist.graphs import catalogue, raw_edges, tables
from ugts_dist.graphs.external_sort import EdgeSorter
from ugts_dist.graphs.prepare import prepare
from ugts_dist.graphs.prepare_options import PrepareOptions
from ugts_dist.graphs.store import open_store
from ugts_dist.graphs.store_files import META

from .helpers import write_webkb
from .stores import assert_equal, expected, make, random_parts, refusal, write_parts, write_rows


@pytest.mark.parametrize("undirected", [False, True])
@pytest.mark.parametrize("suffix", [".npy", ".parquet", ".csv", ".csv.gz"])
def test_files_of_every_kind(tmp_path: Path, suffix: str, undirected: bool) -> None:
    parts = random_parts(50, 400)
    files = write_parts(tmp_path, parts, suffix)
    assert_equal(make(tmp_path / "out", files, undirected=undirected), expected(parts, undirected))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*(f"{p}{suffix}" for p in parts), "out"])


@settings(derandomize=True, max_examples=15)
@given(st.integers(3, 60), st.integers(0, 500), st.booleans(), st.booleans(), st.integers(0, 1000))
def test_any_edges(
    tmp_path_factory: pytest.TempPathFactory, num_nodes: int, num_edges: int, undirected: bool, columns: bool, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("any")
    parts = random_parts(num_nodes, num_edges, seed)
    parts["labels"] = np.arange(num_nodes) % 3
    files = write_parts(folder, parts)
    if columns:
        write_rows(folder / "edges.npy", parts["edges"].T.astype(np.uint16))
    assert_equal(make(folder / "out", files, undirected=undirected), expected(parts, undirected))


@settings(derandomize=True)
@given(st.integers(1, 30), st.integers(0, 400), st.integers(0, 400), st.integers(50, 20_000), st.integers(0, 1000))
def test_sorting_in_little_memory(
    tmp_path_factory: pytest.TempPathFactory, num_nodes: int, num_edges: int, guess: int, memory: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("sort")
    rng = np.random.default_rng(seed)
    source = rng.integers(0, num_nodes, num_edges)
    destination = (num_nodes * rng.random(num_edges) ** 6).astype(np.int64)
    sorter = EdgeSorter(folder, num_nodes, guess, memory)
    for part in np.array_split(np.arange(num_edges), 3):
        sorter.add(source[part], destination[part])
    wanted = sorted({(d, s) for s, d in zip(source.tolist(), destination.tolist(), strict=True) if s != d})
    edges: list[tuple[int, int]] = []
    nodes = 0
    for first, degree, sources in sorter.neighbours():
        assert first == nodes
        nodes += len(degree)
        edges += zip(np.repeat(np.arange(first, nodes), degree).tolist(), sources.tolist(), strict=True)
    assert nodes == num_nodes
    assert edges == wanted
    assert list(folder.iterdir()) == []


def test_small_blocks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = random_parts(200, 3000)
    files = write_parts(tmp_path, parts, ".csv")
    make(tmp_path / "large", files, row_normalize="yes")
    monkeypatch.setattr(tables, "BLOCK_BYTES", 512)
    monkeypatch.setattr(raw_edges, "LEAST_MEMORY", 4096)
    monkeypatch.setattr(raw_edges, "MOST_MEMORY", 4096)
    make(tmp_path / "small", files, row_normalize="yes")
    for path in [tmp_path / "large" / META, *(tmp_path / "large").glob("*.npy")]:
        assert path.read_bytes() == (tmp_path / "small" / path.name).read_bytes(), path.name


def test_masks_instead_of_ids(tmp_path: Path) -> None:
    parts = random_parts(50, 100)
    files = write_parts(tmp_path, parts)
    for split in ("train", "valid", "test"):
        write_rows(tmp_path / f"{split}.npy", np.isin(np.arange(50), parts[split]))
    assert_equal(make(tmp_path / "out", files), expected(parts))


def test_half_precision(tmp_path: Path) -> None:
    parts = random_parts(50, 100)
    made = make(tmp_path / "out", write_parts(tmp_path, parts), dtype="bfloat16")
    assert torch.equal(made.x, torch.from_numpy(parts["features"]).bfloat16())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rows_are_normalized_as_those_of_datasets(tmp_path: Path, dtype: str) -> None:
    parts = random_parts(50, 100)
    made = make(tmp_path / "out", write_parts(tmp_path, parts), row_normalize="yes", dtype=dtype)
    data = Data(x=torch.from_numpy(parts["features"]))
    wanted = NormalizeFeatures()(data).x
    assert torch.equal(made.x, wanted.to(getattr(torch, dtype)))


def test_nodes_without_a_label(tmp_path: Path) -> None:
    parts = random_parts(50, 100)
    parts["train"] = parts["train"][parts["train"] != 7]
    parts["valid"] = parts["valid"][parts["valid"] != 7]
    parts["test"] = parts["test"][parts["test"] != 7]
    parts["labels"][7] = -1
    assert_equal(make(tmp_path / "out", write_parts(tmp_path, parts)), expected(parts))
    assert make(tmp_path / "more", write_parts(tmp_path, parts), num_classes=9).num_classes == 9


# Mistakes in the files


def with_edge(row: int, column: int, node: int) -> dict[str, NDArray[Any]]:
    edges = random_parts(50, 400)["edges"]
    edges[row, column] = node
    return {"edges": edges}


def with_feature(value: float) -> dict[str, NDArray[Any]]:
    features = random_parts(50, 400)["features"]
    features[6, 2] = value
    return {"features": features}


@pytest.mark.parametrize("suffix", [".npy", ".parquet", ".csv"])
@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (with_edge(6, 1, -1), "{edges} row 7: node -1; allowed: 0 to 49"),
        (with_edge(399, 0, 50), "{edges} row 400: node 50; allowed: 0 to 49"),
        (with_edge(0, 0, 2**62), "{edges} row 1: node 4611686018427387904; allowed: 0 to 49"),
        (with_feature(np.nan), "{features} row 7: nan as feature 2 of node 6; allowed: finite numbers"),
        (with_feature(np.inf), "{features} row 7: inf as feature 2 of node 6; allowed: finite numbers"),
        ({"features": np.ones((49, 3))}, "{features}: has 49 rows; allowed: 50, one for each node that has a label"),
        ({"labels": np.zeros(52, dtype=int)}, "{features}: has "),
        ({"labels": np.full(50, -1)}, "{labels}: node "),
        ({"train": np.array([0, 50])}, "{train} row 2: node 50; allowed: 0 to 49"),
        ({"train": np.array([-1, 0])}, "{train} row 1: node -1; allowed: 0 to 49"),
        ({"valid": np.array([4, 3, 4])}, "{valid}: has node 4 more than once"),
        (
            {"train": np.array([1]), "valid": np.array([2]), "test": np.array([0, 1])},
            "{test}: has node 1, which is also in {train}",
        ),
        ({"test": np.ones((2, 2), dtype=int)}, "{test}: has 2 columns; allowed: 1, of node ids"),
    ],
)
def test_a_wrong_part(tmp_path: Path, suffix: str, changes: dict[str, NDArray[Any]], complaint: str) -> None:
    files = write_parts(tmp_path, random_parts(50, 400) | changes, suffix)
    assert complaint.format(**files) in refusal(tmp_path, files)


def test_too_few_and_too_many_rows_of_csv_features(tmp_path: Path) -> None:
    files = write_parts(tmp_path, random_parts(50, 400), ".csv")
    for rows, problem in ((49, "has 49 rows"), (51, "has more than 50 rows")):
        write_rows(tmp_path / "features.csv", np.ones((rows, 3)))
        assert f"features.csv: {problem}; allowed: 50" in refusal(tmp_path, files)


def test_labels_beyond_the_classes(tmp_path: Path) -> None:
    parts = random_parts(50, 400)
    parts["labels"][9] = 7
    files = write_parts(tmp_path, parts)
    assert "labels.npy: node 9 has label 7; allowed: 0 to 4, negative only" in refusal(tmp_path, files, num_classes=5)


def test_empty_parts(tmp_path: Path) -> None:
    parts = random_parts(50, 400)
    for part in ("labels", "train"):
        files = write_parts(tmp_path, parts | {part: parts[part][:0]})
        assert f"{part}.npy: has no " in refusal(tmp_path, files)
    files = write_parts(tmp_path, parts | {"features": np.ones((50, 0))})
    assert "features.npy: has no column of features; allowed: at least one" in refusal(tmp_path, files)


def test_a_disk_that_is_full_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write_parts(tmp_path, random_parts(50, 400))
    add = EdgeSorter.add
    calls: list[None] = []

    def full(*args: Any) -> None:
        calls.append(add(*args))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(EdgeSorter, "add", full)
    assert refusal(tmp_path, files).endswith("out: cannot be written (No space left on device); nothing is left of it")
    assert len(calls) == 1


# Kills


def _until_neighbours(folder: str, files: Mapping[str, Any], sender: Connection) -> None:
    def stop(self: EdgeSorter) -> Any:
        sender.send("in the middle")
        signal.pause()

    EdgeSorter.edges = stop  # type: ignore[method-assign]
    prepare(PrepareOptions("mine", out=folder, **files))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_killed_preparation_starts_anew(tmp_path: Path) -> None:
    parts = random_parts(50, 400)
    (tmp_path / "files").mkdir()
    files = write_parts(tmp_path / "files", parts)
    (tmp_path / "stores").mkdir()
    target = tmp_path / "stores" / "out"
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_until_neighbours, args=(str(target), files, sender), daemon=True)
    process.start()
    assert receiver.poll(60.0)
    left = {path.name for path in (tmp_path / "stores" / ".out.partial").iterdir()}
    assert {"x.npy", "y.npy"} < left
    assert "meta.json" not in left
    with pytest.raises(InputError, match="another process is preparing it"):
        make(target, files)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert [path.name for path in (tmp_path / "stores").iterdir()] == [".out.partial"]
    with pytest.raises(InputError, match="is no graph store"):
        open_store(target)
    assert_equal(make(target, files), expected(parts))
    assert [path.name for path in (tmp_path / "stores").iterdir()] == ["out"]


# Names


def test_a_dataset_becomes_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UGTS_STORES", str(tmp_path / "stores"))
    monkeypatch.setenv("UGTS_DATA", str(tmp_path))
    write_webkb(tmp_path / "webkb/texas/raw", "texas")
    wanted = catalogue.load("texas", split=3)
    line = prepare(PrepareOptions("texas", split=3))
    assert line.startswith(
        f"{tmp_path}/stores/texas: texas, 40 nodes, {wanted.num_edges} edges, 9 features (float32), 3 "
    )
    folder = str(tmp_path / "stores" / "texas")
    assert_equal(catalogue.load(folder), wanted)
    assert_equal(catalogue.load(folder, split=3, row_normalize=False), wanted)
    with pytest.raises(InputError, match=r"data\.split: 4 is not the split of the store .*; allowed: 3, which"):
        catalogue.load(folder, split=4)
    monkeypatch.delenv("UGTS_DATA")
    prepare(
        PrepareOptions("texas", root=str(tmp_path), row_normalize="no", dtype="bfloat16", out=str(tmp_path / "plain"))
    )
    plain = catalogue.load("texas", tmp_path, row_normalize=False).x
    assert torch.equal(catalogue.load(str(tmp_path / "plain")).x, plain.bfloat16())


def test_your_own_graph_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = random_parts(50, 400)
    files = write_parts(tmp_path, parts)
    with pytest.raises(InputError, match=r"data\.name: 'mine' is not a dataset; allowed: cora, .*-like, the"):
        catalogue.load("mine")
    prepare(PrepareOptions("mine", **files))  # type: ignore[arg-type]
    assert (tmp_path / "home/.cache/ugts_dist/stores/mine/meta.json").is_file()
    assert_equal(catalogue.load("mine"), expected(parts))
    monkeypatch.chdir(tmp_path / "home/.cache/ugts_dist/stores")
    monkeypatch.setenv("UGTS_STORES", str(tmp_path / "elsewhere"))
    assert_equal(catalogue.load("mine"), expected(parts))  # a folder here that is a store
    with pytest.raises(InputError, match=r"data\.split: 1 is not the split of the store mine; allowed: 0"):
        catalogue.load("mine", split=1)


def test_a_synthetic_graph_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UGTS_STORES", str(tmp_path))
    with pytest.raises(InputError, match=r"arxiv-like is not in .*; run `ugts prepare arxiv-like` first"):
        catalogue.load("arxiv-like")
    prepare(PrepareOptions("arxiv-like", scale=0.003, seed=2))
    (folder,) = tmp_path.iterdir()
    assert folder.name == "arxiv-like-0.003"
    assert catalogue.load("arxiv-like-0.003").num_classes == 40
    assert prepare(PrepareOptions("arxiv-like", scale=0.003, verify=True)).endswith(", all checksums right")
