"""What distinguishes datasets."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.graphs.helpers import random_graph
from ugts_dist.graphs.checksum import DataChecksum, with_digests
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.molecules import GraphSet
from ugts_dist.graphs.store import open_store
from ugts_dist.graphs.store_writer import write_store


@pytest.fixture(scope="module")
def graph() -> Graph:
    return random_graph(40, 200)


def molecules() -> GraphSet:
    train, valid, test = (torch.tensor([number]) for number in range(3))
    edges = torch.tensor([[0, 1], [1, 0]])
    pointer = torch.tensor([0, 2, 2, 2])
    return GraphSet(
        "set", torch.ones(4, 2), edges, torch.tensor([0, 2, 3, 4]), pointer, torch.ones(3, 1), train, valid, test
    )


def test_it_is_that_of_the_arrays_as_numpy_saves_them(graph: Graph) -> None:
    arrays = ("indices", "indptr", "test", "train", "valid", "x", "y")
    lines = []
    for name in arrays:
        file = io.BytesIO()
        np.save(file, getattr(graph, name).numpy())
        lines.append(f"{name} {hashlib.sha256(file.getvalue()).hexdigest()}\n")
    checksum = DataChecksum.of(graph)
    assert checksum.sha256 == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert checksum.parts["labels"] == hashlib.sha256(lines[-1].encode()).hexdigest()[:8]
    assert checksum.num_nodes == 40


def test_a_store_has_that_of_its_graph(graph: Graph, tmp_path: Path) -> None:
    write_store(graph, tmp_path / "store")
    assert DataChecksum.of(open_store(tmp_path / "store")) == DataChecksum.of(graph)


def test_known_digests_are_not_computed_again(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    for data in (graph, molecules()):
        expected = DataChecksum.of(data)
        known = with_digests(data)
        with monkeypatch.context() as patch:
            patch.setattr("ugts_dist.graphs.checksum._npy_sha256", None)
            assert DataChecksum.of(known) == expected


@pytest.mark.parametrize(
    ("array", "told"),
    [("x", "features"), ("y", "labels"), ("indices", "edges"), ("indptr", "edges"), ("train", "split")],
)
def test_what_differs_is_named(graph: Graph, array: str, told: str) -> None:
    changed = getattr(graph, array).clone()
    changed.view(-1)[-1] += 1
    other = DataChecksum.of(dataclasses.replace(graph, **{array: changed}))
    assert DataChecksum.of(graph).difference(other) == told
    assert not DataChecksum.of(graph).difference(DataChecksum.of(graph))


def test_all_that_differs_is_listed(graph: Graph) -> None:
    one, other = DataChecksum.of(random_graph(1200, 200)), DataChecksum.of(graph)
    expected = "features, labels, edges, split and number of nodes (40 there, 1,200 here)"
    assert other.difference(one) == expected
    old = dataclasses.replace(other, parts={})  # as older versions wrote it
    assert old.difference(one) == "number of nodes (40 there, 1,200 here)"
    assert old.difference(dataclasses.replace(other, sha256="0" * 64)) == "something"


def test_every_array_is_part_of_something() -> None:
    for data in (random_graph(5, 5), molecules()):
        whole = DataChecksum.of(data)
        tensors = [each.name for each in dataclasses.fields(data) if torch.is_tensor(getattr(data, each.name))]
        for name in tensors:
            assert whole.difference(DataChecksum.of(dataclasses.replace(data, **{name: getattr(data, name)[:-1] * 0})))


def test_it_is_read_again_as_it_was_written(graph: Graph) -> None:
    checksum = DataChecksum.of(graph)
    assert DataChecksum.from_dict(checksum.to_dict()) == checksum
    old = {"name": "a", "sha256": "0" * 64, "num_nodes": 3}
    assert DataChecksum.from_dict(old).parts == {}
    for wrong in (
        None,
        {},
        {**old, "sha256": "\x1b[2J"},
        {**old, "num_nodes": True},
        {**old, "name": 1},
        {**old, "parts": {"features": "x"}},
        {**old, "parts": 1},
    ):
        with pytest.raises(ValueError, match="data"):
            DataChecksum.from_dict(wrong)
