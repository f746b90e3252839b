"""Molecules against OGB's own reader, damaged files, and the batches of PyG's loader."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ogb.io.read_graph_raw import read_csv_graph_raw

from ugts_dist.errors import InputError
from ugts_dist.graphs import molecules, tables
from ugts_dist.graphs.loader import SeedPlan
from ugts_dist.graphs.molecules import FILES, FOLDERS, SPLIT_FILES, GraphLoader, GraphSet, load, read

from .helpers import snapshot
from .molecule_files import Molecule, random_molecules, write_molecules, write_rows

NAME = "ogbg-molbace"


def dataset(root: Path, count: int = 60, unknown: float = 0.0) -> list[Molecule]:
    """Write a dataset below a root."""
    molecules = random_molecules(count, unknown=unknown)
    ids = np.random.default_rng(1).permutation(count).tolist()
    parts = (ids[: count // 2], ids[count // 2 : 3 * count // 4], ids[3 * count // 4 :])
    write_molecules(root / "ogb" / FOLDERS[NAME], molecules, parts)
    return molecules


def pairs(edge_index: torch.Tensor) -> list[tuple[int, int]]:
    return sorted((int(a), int(b)) for a, b in edge_index.t())


def assert_ogb_reads_the_same(graphs: GraphSet, folder: Path) -> None:
    theirs = read_csv_graph_raw(str(folder / "raw"), add_inverse_edge=True)
    assert len(theirs) == graphs.num_graphs
    for graph, one in enumerate(theirs):
        nodes = slice(graphs.node_ptr[graph], graphs.node_ptr[graph + 1])
        edges = slice(graphs.edge_ptr[graph], graphs.edge_ptr[graph + 1])
        assert np.array_equal(graphs.x[nodes], one["node_feat"])
        assert pairs(graphs.edge_index[:, edges]) == sorted(map(tuple, one["edge_index"].T.tolist()))
    label = [float(line or "nan") for line in lines_of(folder / "raw/graph-label.csv.gz")]
    assert np.array_equal(graphs.y[:, 0], np.array(label, np.float32), equal_nan=True)
    for ids, split in ((graphs.train, "train"), (graphs.valid, "valid"), (graphs.test, "test")):
        assert ids.tolist() == sorted(map(int, lines_of(folder / f"split/scaffold/{split}.csv.gz")))


def lines_of(path: Path) -> list[str]:
    return gzip.decompress(path.read_bytes()).decode().splitlines()


def test_molbace_is_what_ogb_reads(data_root: Path) -> None:
    graphs = load(NAME, data_root)
    assert graphs.num_graphs == 1513
    assert [ids.numel() for ids in (graphs.train, graphs.valid, graphs.test)] == [1210, 151, 152]
    assert_ogb_reads_the_same(graphs, data_root / "ogb" / FOLDERS[NAME])


def test_molhiv_has_the_published_counts(data_root: Path) -> None:
    graphs = load("ogbg-molhiv", data_root)
    assert (graphs.num_graphs, graphs.num_tasks) == (41127, 1)
    assert [ids.numel() for ids in (graphs.train, graphs.valid, graphs.test)] == [32901, 4113, 4113]
    assert round(graphs.x.shape[0] / graphs.num_graphs, 1) == 25.5  # as OGB's page says
    assert round(graphs.edge_index.shape[1] / 2 / graphs.num_graphs, 1) == 27.5


def test_a_written_dataset_is_what_ogb_reads_and_nothing_is_touched(tmp_path: Path) -> None:
    dataset(tmp_path, unknown=0.1)
    before = snapshot(tmp_path)
    graphs = load(NAME, tmp_path)
    assert_ogb_reads_the_same(graphs, tmp_path / "ogb" / FOLDERS[NAME])
    assert snapshot(tmp_path) == before
    assert torch.equal(graphs.known, (~graphs.y.isnan()).long().sum(1))


def test_the_variable_names_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset(tmp_path)
    monkeypatch.setenv("UGTS_DATA", str(tmp_path))
    assert load(NAME).num_graphs == 60


def test_edges_ascend_within_their_graph(tmp_path: Path) -> None:
    dataset(tmp_path)
    graphs = load(NAME, tmp_path)
    for first, last in zip(graphs.edge_ptr[:-1].tolist(), graphs.edge_ptr[1:].tolist(), strict=True):
        source, destination = graphs.edge_index[:, first:last].tolist()
        ordered = list(zip(destination, source, strict=True))
        assert ordered == sorted(ordered)


@pytest.mark.parametrize("file", [*FILES, *SPLIT_FILES.values()])
def test_missing_and_damaged_files_are_named(file: str, tmp_path: Path) -> None:
    dataset(tmp_path)
    path = tmp_path / "ogb" / FOLDERS[NAME] / file
    content = path.read_bytes()
    for damage in (content[:-12], b"", gzip.compress(b""), gzip.decompress(content)):
        path.write_bytes(damage)
        with pytest.raises(InputError, match=path.name) as error:
            load(NAME, tmp_path)
        assert "\n" not in str(error.value)
    path.unlink()
    with pytest.raises(InputError, match=f"data.root: {NAME} needs {file}"):
        load(NAME, tmp_path)


@pytest.mark.parametrize(
    ("file", "row", "text", "told"),
    [
        ("raw/edge.csv.gz", 3, "0,x", r"edge\.csv\.gz.*Row #3.*'x'"),
        ("raw/edge.csv.gz", 3, "0", r"edge\.csv\.gz.*Row #3: Expected 2 columns, got 1"),
        ("raw/edge.csv.gz", 3, ",1", r"edge\.csv\.gz: row 3: column 1 is empty"),
        ("raw/edge.csv.gz", 3, "0,999", r"edge\.csv\.gz: row 3: edge \[0, 999\]; allowed: 0 to \d+, as graph"),
        ("raw/edge.csv.gz", 3, "-1,0", r"edge\.csv\.gz: row 3: edge \[-1, 0\]"),
        ("raw/edge.csv.gz", 3, "0,0", r"edge\.csv\.gz: row 3 is 0; allowed: two different nodes"),
        ("raw/node-feat.csv.gz", 2, "5,0,4,5,3,0,2,0", r"node-feat\.csv\.gz.*Row #2: Expected 9 columns, got 8"),
        ("raw/node-feat.csv.gz", 2, "5,0,4,5,3,0,2,0,0.5", r"node-feat\.csv\.gz.*Row #2.*'0\.5'"),
        (
            "raw/node-feat.csv.gz",
            2,
            "5,0,4,12,3,0,2,0,0",
            r"node-feat\.csv\.gz: row 2: column 4 is 12; allowed: 0 to 11",
        ),
        ("raw/graph-label.csv.gz", 4, "2", r"graph-label\.csv\.gz: row 4 is 2\.0; allowed: 0, 1 or nothing"),
        ("raw/graph-label.csv.gz", 4, "yes", r"graph-label\.csv\.gz.*Row #4.*'yes'"),
        ("raw/num-node-list.csv.gz", 5, "0", r"num-node-list\.csv\.gz: row 5 is 0; allowed: 1 or more"),
        ("raw/num-edge-list.csv.gz", 5, "-1", r"num-edge-list\.csv\.gz: row 5 is -1; allowed: 0 or more"),
        ("raw/num-node-list.csv.gz", 5, "400", r"node-feat\.csv\.gz: \d+ rows; allowed: \d+, the sum of num-node-list"),
        ("raw/num-edge-list.csv.gz", 5, "400", r"edge\.csv\.gz: \d+ rows; allowed: \d+, the sum of num-edge-list"),
        ("split/scaffold/valid.csv.gz", 1, "60", r"valid\.csv\.gz: row 1 is 60; allowed: 0 to 59"),
    ],
)
def test_a_wrong_row_is_named(file: str, row: int, text: str, told: str, tmp_path: Path) -> None:
    dataset(tmp_path)
    path = tmp_path / "ogb" / FOLDERS[NAME] / file
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    lines[row - 1] = text
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    with pytest.raises(InputError, match=told) as error:
        load(NAME, tmp_path)
    assert "\n" not in str(error.value)
    assert str(path.parent) in str(error.value)


def test_splits_share_no_graph_and_have_both_classes(tmp_path: Path) -> None:
    molecules = [Molecule(m.atoms, m.bonds, str(k % 2)) for k, m in enumerate(random_molecules(12))]
    cases: list[tuple[list[list[int]], str]] = [
        ([[0, 1, 2, 3], [4, 5], [7, 3, 6]], r"test\.csv\.gz: row 2: graph 3 is in train too"),
        ([[0, 1, 2, 1], [4, 5], [6, 7]], r"train\.csv\.gz: row \d: graph 1 is in train too"),
        ([[0, 1], [4, 6], [7, 8]], r"valid\.csv\.gz: no graph with label 1"),
    ]
    for split, told in cases:
        write_molecules(tmp_path, molecules, split)
        with pytest.raises(InputError, match=told):
            read(tmp_path, NAME)


def test_rows_of_the_lists_must_agree(tmp_path: Path) -> None:
    molecules = random_molecules(8)
    write_molecules(tmp_path, molecules, [[0, 1], [2, 3], [4, 5]])
    write_rows(tmp_path / "raw/graph-label.csv.gz", [[0]] * 9)
    with pytest.raises(InputError, match=r"graph-label\.csv\.gz: 9 rows; allowed: 8, one a graph"):
        read(tmp_path, NAME)


@pytest.mark.parametrize("file", [*FILES, *SPLIT_FILES.values()])
def test_a_file_that_unpacks_to_millions_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    """It is refused while it is read, although each row by itself is right."""
    monkeypatch.setattr(tables, "_SPARE_ROWS", 10)
    monkeypatch.setattr(molecules, "_MOST_GRAPHS", 60)
    dataset(tmp_path)
    path = tmp_path / "ogb" / FOLDERS[NAME] / file
    row = gzip.decompress(path.read_bytes()).splitlines(keepends=True)[0]
    path.write_bytes(gzip.compress(row * 1_000_000, 1))
    with pytest.raises(InputError, match=rf"{Path(file).name}: has more than \d+ rows; allowed: \d+$"):
        load(NAME, tmp_path)


def test_there_is_one_split(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.split: 1 is not a split of ogbg-molbace; allowed: 0"):
        load(NAME, tmp_path, split=1)


@given(
    size=st.integers(2, 30),
    world_size=st.sampled_from([1, 2]),
    step=st.integers(0, 100),
    seed=st.integers(0, 2**63 - 1),
)
def test_ranks_share_the_union_of_a_steps_graphs(
    size: int, world_size: int, step: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("data")
    molecules = dataset(root)
    graphs = load(NAME, root)
    shared: list[int] = []
    for rank in range(world_size):
        plan = SeedPlan(graphs.train, size, seed, rank, world_size)
        (batch,) = GraphLoader(graphs, plan).steps(range(step, step + 1))
        ids = batch.graph.tolist()
        assert ids == plan.seeds(step).tolist()
        atoms = np.concatenate([molecules[graph].atoms for graph in ids])
        assert torch.equal(batch.x, torch.from_numpy(atoms))
        first = np.cumsum([0, *(len(molecules[graph].atoms) for graph in ids)])
        bonds = [molecules[graph].bonds + offset for graph, offset in zip(ids, first, strict=False)]
        both = np.concatenate([*bonds, *(bond[:, ::-1] for bond in bonds)])
        assert pairs(batch.edge_index) == sorted(map(tuple, both.tolist()))
        assert bool((batch.edge_index[1].diff() >= 0).all())
        assert torch.equal(batch.y, graphs.y[ids])
        shared += ids
    assert shared == SeedPlan(graphs.train, size, seed).seeds(step).tolist()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_batches_do_not_depend_on_workers(tmp_path: Path) -> None:
    dataset(tmp_path)
    graphs = load(NAME, tmp_path)
    plan = SeedPlan(graphs.train, 8, 3)
    alone = list(GraphLoader(graphs, plan).steps(range(4, 8)))
    helped = list(GraphLoader(graphs, plan, num_workers=1).steps(range(4, 8)))
    for one, other in zip(alone, helped, strict=True):
        for key in ("x", "edge_index", "y", "graph", "batch"):
            assert torch.equal(one[key], other[key]), key
