"""Random splits: exact counts, one of the labelled nodes each, the same for one seed, and in `ugts prepare`."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ugts_dist.errors import InputError
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.random_split import RandomSplit
from ugts_dist.graphs.store_files import read_meta

from .stores import make, random_parts, refusal, write_parts, write_rows
from .test_pyg_data import data_of, saved

SPLITS = ("train", "valid", "test")


@settings(derandomize=True)
@given(st.sets(st.integers(0, 10**6), min_size=20, max_size=300), st.integers(0, 2**63 - 1), st.integers(5, 90))
def test_every_labelled_node_is_in_one_split(labelled: set[int], seed: int, train: int) -> None:
    nodes = np.array(sorted(labelled))
    drawn = RandomSplit.parse(f"{train}/5/{95 - train}", seed).draw(nodes)
    assert list(drawn) == list(SPLITS)
    for members in drawn.values():
        assert (np.diff(members) > 0).all()
    assert np.sort(np.concatenate(list(drawn.values()))).tolist() == nodes.tolist()
    assert abs(len(drawn["train"]) - len(nodes) * train / 100) <= 0.5


@pytest.mark.parametrize(
    ("text", "num_nodes", "counts"),
    [
        ("60/20/20", 100, [60, 20, 20]),
        ("60/20/20", 11, [7, 2, 2]),  # boundaries 6.6 and 8.8
        ("5/5/10", 100, [5, 5, 10]),
        ("33.3/33.3/33.4", 1000, [333, 333, 334]),
        ("0.5/0.5/99", 1000, [5, 5, 990]),
    ],
)
def test_counts(text: str, num_nodes: int, counts: Sequence[int]) -> None:
    drawn = RandomSplit.parse(text, 0).draw(np.arange(num_nodes))
    assert [len(drawn[split]) for split in SPLITS] == list(counts)


def test_a_seed_draws_a_split_of_its_own() -> None:
    nodes = np.arange(1000)
    draws = [RandomSplit.parse("50/25/25", seed).draw(nodes)["train"] for seed in (0, 0, 1)]
    assert draws[0].tolist() == draws[1].tolist()
    common = len(np.intersect1d(draws[0], draws[2]))
    assert abs(common - 250) < 5 * 8  # hypergeometric: mean 250, deviation 7.9
    assert abs(draws[0].mean() - 499.5) < 5 * 9.2  # as many of the first nodes as of the last ones


@pytest.mark.parametrize(
    "text", ["60/20", "60/20/20/0", "60/20/21", "100/0/0", "-60/20/20", "a/b/c", "60,20,20", "nan/1/1", "1e9/1/1", " "]
)
def test_wrong_percentages(text: str) -> None:
    with pytest.raises(InputError, match=r"^--split-random is .*, allowed is percentages for training, validation and"):
        RandomSplit.parse(text, 0)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_wrong_seed(seed: int) -> None:
    with pytest.raises(InputError, match=rf"^--seed is {seed}, allowed is 0 to "):
        RandomSplit.parse("60/20/20", seed)


def test_exact_percentages() -> None:
    assert RandomSplit.parse("33.3/33.3/33.4", 0).percentages[0] == Fraction(333, 10)


# In `ugts prepare`


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Files of a graph of 100 nodes without a split; every fourth node has no label."""
    parts = random_parts(100, 400)
    parts["labels"] = np.where(np.arange(100) % 4 == 0, -1, np.arange(100) % 3)
    return write_parts(tmp_path, {part: parts[part] for part in ("edges", "features", "labels")}, ".csv")


def split_of(graph: Graph) -> list[list[int]]:
    return [getattr(graph, split).tolist() for split in SPLITS]


def test_a_store_with_a_random_split(tmp_path: Path, files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    graph = make(tmp_path / "out", files, split_random="60/20/20", seed=7)
    assert "random split with seed 7: train 45, valid 15, test 15 of 75 labelled nodes" in capsys.readouterr().err
    wanted = RandomSplit.parse("60/20/20", 7).draw(np.flatnonzero(np.arange(100) % 4))
    assert split_of(graph) == [wanted[split].tolist() for split in SPLITS]
    assert not any(node % 4 == 0 for members in split_of(graph) for node in members)
    origin = read_meta(tmp_path / "out").origin
    assert (origin["split_random"], origin["split_seed"]) == ("60/20/20", 7)


def test_the_seed_is_that_of_the_split(tmp_path: Path, files: dict[str, str]) -> None:
    drawn = [
        split_of(make(tmp_path / f"out{k}", files, split_random="60/20/20", seed=seed))
        for k, seed in enumerate((0, 0, 1))
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_given_split_leaves_no_trace_of_a_drawn_one(tmp_path: Path) -> None:
    make(tmp_path / "out", write_parts(tmp_path, random_parts(60, 300)))
    assert not {"split_random", "split_seed"} & set(read_meta(tmp_path / "out").origin)


def test_pyg_data_without_masks(tmp_path: Path) -> None:
    data = data_of(random_parts(60, 400))
    del data.train_mask, data.val_mask, data.test_mask
    graph = make(tmp_path / "out", saved(tmp_path, data), split_random="50/25/25")
    assert sorted(torch.cat([graph.train, graph.valid, graph.test]).tolist()) == list(range(60))


def test_unused_masks_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = make(tmp_path / "out", saved(tmp_path, data_of(random_parts(60, 400))), split_random="50/25/25")
    assert "graph.pt test_mask, train_mask, val_mask not used: the split is drawn" in capsys.readouterr().err
    assert [len(members) for members in split_of(graph)] == [30, 15, 15]


def test_words_for_ids_and_classes(tmp_path: Path) -> None:
    (tmp_path / "nodes.csv").write_text("id,a\n" + "".join(f"n{k},{k}\n" for k in range(20)))
    (tmp_path / "labels.csv").write_text(
        "id,kind\n" + "".join(f"n{k},{'red' if k % 2 else 'blue'}\n" for k in range(10))
    )
    (tmp_path / "edges.csv").write_text("from,to\n" + "".join(f"n{k},n{(k + 1) % 20}\n" for k in range(20)))
    paths = {"edges": "edges.csv", "features": "nodes.csv", "labels": "labels.csv"}
    graph = make(
        tmp_path / "out", {part: str(tmp_path / name) for part, name in paths.items()}, split_random="60/20/20"
    )
    assert sorted(node for members in split_of(graph) for node in members) == list(range(10))  # those with a label


def test_it_is_refused_beside_a_split(tmp_path: Path, files: dict[str, str]) -> None:
    files["test"] = write_rows(tmp_path / "test.csv", np.arange(5))
    assert refusal(tmp_path, files, split_random="60/20/20") == "--test: not for --split-random, which draws the split"


def test_too_few_labelled_nodes(tmp_path: Path, files: dict[str, str]) -> None:
    files["labels"] = write_rows(tmp_path / "few.csv", np.where(np.arange(100) < 3, 0, -1))
    wanted = "--split-random: 80/10/10 of 3 labelled nodes leaves none for test"  # boundaries 2.4, 2.7 and 3
    assert refusal(tmp_path, files, split_random="80/10/10") == wanted
