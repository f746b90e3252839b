"""A store's arrays are checked before anything indexes with them, and only once while no file changes."""

from __future__ import annotations

import json
import os
import shutil
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ugts_dist.errors import InputError
from ugts_dist.graphs import store_check
from ugts_dist.graphs.array_error import ArrayError
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.store import open_store, verify_store
from ugts_dist.graphs.store_check import CHECKED
from ugts_dist.graphs.store_files import META, meta_sha256, sha256
from ugts_dist.graphs.store_writer import write_store

from .helpers import random_graph
from .stores import assert_equal


@pytest.fixture
def graph() -> Graph:
    return random_graph(90, 400)


@pytest.fixture
def store(tmp_path: Path, graph: Graph, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store, whose files count as old enough to be remembered."""
    monkeypatch.setattr(store_check, "_TICK", -1)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write_store(graph, tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The stores that were read and checked, in order."""
    done: list[Path] = []
    check = store_check.check

    def counted(folder: Path, graph: Graph) -> None:
        done.append(folder)
        check(folder, graph)

    monkeypatch.setattr(store_check, "check", counted)
    return done


def change(store: Path, array: str, place: int | tuple[int, int], value: float) -> None:
    """Another value in an array's file; its size stays."""
    values = np.load(store / f"{array}.npy", mmap_mode="r+")
    values[place] = value
    values.flush()


# What is refused


@pytest.mark.parametrize(
    ("array", "place", "value", "told"),
    [
        ("indptr", 10, 10**12, "has a decrease after node 10"),
        ("indptr", 10, -1, "has a decrease after node 9"),
        ("indptr", 0, 1, "has first entry 1 and last entry"),
        ("indptr", -1, 2**40, "has first entry 0 and last entry 1099511627776"),
        ("indices", 7, 90, "has node 90; allowed: 0 to 89"),
        ("indices", 7, -(2**31), "has node -2147483648; allowed: 0 to 89"),
        ("train", 3, 2**62, "has node 4611686018427387904; allowed: 0 to 89"),
        ("test", -1, -1, "has node -1; allowed: 0 to 89"),
        ("valid", 1, 60, "out of order or repeated; allowed: ascending ids, each once"),
        ("valid", 0, 3, "has node 3, which is also in train"),
        ("y", 5, 3, "has label 3 of node 5; allowed: 0 to 2"),
        ("y", 5, -1, "has label -1 of node 5"),
        ("x", (4, 1), np.inf, "has inf at node 4, feature 1; allowed: finite numbers"),
    ],
)
def test_a_wrong_value_is_refused(store: Path, array: str, place: int, value: float, told: str) -> None:
    change(store, array, place, value)
    for _ in range(2):
        with pytest.raises(InputError) as refusal:
            open_store(store)
        assert str(refusal.value).startswith(f"{store / array}.npy: has ")
        assert told in str(refusal.value)
        assert str(refusal.value).endswith("; it is damaged, prepare the graph again")


def test_repeated_neighbours_are_refused(store: Path, graph: Graph) -> None:
    node = int((graph.degree >= 2).nonzero()[0])
    first = int(graph.indptr[node])
    change(store, "indices", first, int(graph.indices[first + 1]))
    with pytest.raises(InputError, match=rf"of node {node} out of order or repeated"):
        open_store(store)


def test_every_flipped_bit_of_indptr_is_refused_or_another_valid_one(store: Path, graph: Graph) -> None:
    """Independently of the program: the flipped array is compared with what CSR needs by numpy."""
    path = store / "indptr.npy"
    whole, refused = path.read_bytes(), 0
    header = len(whole) - 8 * (graph.num_nodes + 1)
    random = np.random.default_rng(0)
    for _ in range(120):
        place, bit = int(random.integers(header, len(whole))), int(random.integers(8))
        flipped = bytearray(whole)
        flipped[place] ^= 1 << bit
        path.write_bytes(bytes(flipped))
        values = np.frombuffer(flipped, np.int64, offset=header)
        rows = np.split(graph.indices.numpy(), np.clip(values[1:-1], 0, graph.num_edges))
        valid = (
            values[0] == 0
            and values[-1] == graph.num_edges
            and (np.sort(values) == values).all()
            and all((np.diff(row) > 0).all() for row in rows)
        )
        if valid:
            open_store(store)
        else:
            refused += 1
            with pytest.raises(InputError, match=r"(indptr|indices)\.npy: has"):
                open_store(store)
        with pytest.raises(InputError, match=r"indptr\.npy changed since written"):
            verify_store(store)
    assert refused > 80


def test_verify_checks_what_the_arrays_hold(store: Path) -> None:
    """Also if the checksums are those of the wrong arrays."""
    change(store, "indices", 0, 10**6)
    meta = json.loads((store / META).read_text())
    meta["arrays"]["indices"]["sha256"] = sha256(store / "indices.npy")
    (store / META).write_text(json.dumps(meta | {"sha256": meta_sha256(meta)}))
    with pytest.raises(InputError, match=r"indices\.npy: has node 1000000; allowed: 0 to 89"):
        verify_store(store)


def test_verify_tells_a_store_without_a_checksum_of_its_description(store: Path) -> None:
    assert verify_store(store)
    meta = json.loads((store / META).read_text())
    del meta["sha256"]
    (store / META).write_text(json.dumps(meta))
    assert not verify_store(store)


# What is remembered


def test_a_store_is_checked_once(store: Path, graph: Graph, checks: list[Path]) -> None:
    for _ in range(3):
        assert_equal(open_store(store), graph)
    assert len(checks) == 1
    moved = store.rename(store.with_name("moved"))
    assert_equal(open_store(moved), graph)
    assert len(checks) == 1
    shutil.copytree(moved, store)
    assert_equal(open_store(store), graph)
    assert len(checks) == 2


@pytest.mark.parametrize("way", ["in place", "another file", "old times"])
def test_a_store_that_changed_is_checked_again(store: Path, checks: list[Path], way: str) -> None:
    open_store(store)
    path = store / "indptr.npy"
    before, whole = path.stat(), path.read_bytes()
    values = np.load(path)
    values[10] = 10**12
    damaged = whole[: -values.nbytes] + values.tobytes()
    if way == "another file":
        path.with_name("new").write_bytes(damaged)
        path.with_name("new").rename(path)
    else:
        path.write_bytes(damaged)
    if way == "old times":
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(InputError, match=r"indptr\.npy: has a decrease after node 10"):
        open_store(store)
    path.write_bytes(whole)
    open_store(store)
    open_store(store)
    assert len(checks) == 3


def test_files_that_are_too_new_are_not_remembered(
    store: Path, checks: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They could change again without a new time."""
    monkeypatch.setattr(store_check, "_TICK", 10**18)
    open_store(store)
    open_store(store)
    assert len(checks) == 2
    assert not (store / CHECKED).exists()


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"version": 0, "files": {}}', b"[" * 10_000])
def test_a_memory_that_is_none(store: Path, checks: list[Path], content: bytes) -> None:
    (store / CHECKED).write_bytes(content)
    open_store(store)
    open_store(store)
    assert len(checks) == 1


def test_a_folder_that_cannot_be_written(store: Path, checks: list[Path], tmp_path: Path) -> None:
    """The record is in the user's cache; without a cache, the check is repeated."""
    (store / CHECKED).mkdir()
    for _ in range(2):
        open_store(store)
    assert len(checks) == 1
    (memory,) = (tmp_path / "home/.cache/ugts_dist/checked").iterdir()
    memory.unlink()
    memory.mkdir()
    for _ in range(2):
        open_store(store)
    assert len(checks) == 3


def test_files_that_change_while_they_are_opened(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_check, "check", lambda folder, _: os.utime(folder / "x.npy"))
    with pytest.raises(InputError, match="its files change while it is opened"):
        open_store(store)
    assert not (store / CHECKED).exists()


def _open(store: str, notes: str, barrier: Any) -> None:
    check = store_check.check

    def noted(folder: Path, graph: Graph) -> None:
        Path(notes, str(os.getpid())).touch()
        check(folder, graph)

    store_check.check = noted
    torch.set_num_threads(1)
    barrier.wait()
    open_store(Path(store))


def test_one_of_many_processes_checks(store: Path, tmp_path: Path) -> None:
    context = get_context("fork")
    barrier, notes = context.Barrier(4), tmp_path / "notes"
    notes.mkdir()
    processes = [context.Process(target=_open, args=(str(store), str(notes), barrier)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert len(list(notes.iterdir())) == 1


def test_the_error_of_an_array_can_be_made_of_its_message() -> None:
    """As for sending it to other ranks."""
    assert str(ArrayError("g: x has nan")) == "g: x has nan"
