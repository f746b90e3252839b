from __future__ import annotations

import errno
import hashlib
import json
import os
import resource
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ugts_dist.errors import InputError
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.store import is_store, open_extra, open_store, verify_store
from ugts_dist.graphs.store_check import CHECKED
from ugts_dist.graphs.store_files import META, meta_sha256, read_meta
from ugts_dist.graphs.store_writer import StoreWriter, write_store

from .helpers import random_graph, snapshot
from .stores import ARRAYS, assert_equal


@pytest.fixture
def graph() -> Graph:
    return random_graph(90, 400)


@pytest.fixture
def store(tmp_path: Path, graph: Graph) -> Path:
    folder = tmp_path / "stores" / "graph"
    write_store(graph, folder, {"split": 3, "row_normalize": True})
    return folder


def message(folder: Path) -> str:
    """The refusal of a store that should not open."""
    with pytest.raises(InputError) as refusal:
        open_store(folder)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_a_store_gives_back_its_graph(store: Path, graph: Graph) -> None:
    opened = open_store(store)
    assert_equal(opened, graph)
    assert opened.name == "random"
    verify_store(store)
    assert is_store(store)
    names = {path.name for path in store.iterdir()} - {CHECKED}
    assert names == {*(f"{array}.npy" for array in ARRAYS), "meta.json"}
    assert [path.name for path in store.parent.iterdir()] == ["graph"]


def test_bfloat16_features(tmp_path: Path, graph: Graph) -> None:
    half = replace(graph, x=graph.x.bfloat16())
    write_store(half, tmp_path / "half")
    assert_equal(open_store(tmp_path / "half"), half)
    assert np.load(tmp_path / "half" / "x.npy").dtype == np.uint16
    assert json.loads((tmp_path / "half" / "meta.json").read_text())["arrays"]["x"]["dtype"] == "bfloat16"


def test_a_graph_without_edges(tmp_path: Path, graph: Graph) -> None:
    lonely = replace(graph, indptr=torch.zeros_like(graph.indptr), indices=graph.indices[:0])
    write_store(lonely, tmp_path / "lonely")
    assert_equal(open_store(tmp_path / "lonely"), lonely)
    with StoreWriter(tmp_path / "created", "lonely", graph.num_classes) as writer:
        fill(writer, lonely)
        writer.finish()
    assert_equal(open_store(tmp_path / "created"), lonely)


def attempt(folder: Path, write: Callable[[StoreWriter], None]) -> None:
    with StoreWriter(folder, "s", 3) as writer:
        write(writer)


def fill(writer: StoreWriter, graph: Graph, **changes: Any) -> None:
    for array in ARRAYS:
        values = changes.get(array, getattr(graph, array)).numpy()
        writer.create(array, values.dtype, values.shape)[...] = values


def test_created_arrays_are_those_that_are_written(tmp_path: Path, store: Path, graph: Graph) -> None:
    with StoreWriter(tmp_path / "created", "random", graph.num_classes) as writer:
        fill(writer, graph)
        writer.finish()
    for array in ARRAYS:
        assert (tmp_path / "created" / f"{array}.npy").read_bytes() == (store / f"{array}.npy").read_bytes()


@settings(derandomize=True)
@given(st.lists(st.integers(0, 9), max_size=8))
def test_blocks_of_any_length(tmp_path_factory: pytest.TempPathFactory, lengths: list[int]) -> None:
    folder = tmp_path_factory.mktemp("blocks")
    values = np.arange(2 * sum(lengths), dtype=np.float32).reshape(-1, 2)
    with StoreWriter(folder / "blocks", "blocks", 2) as writer:
        blocks = np.split(values, np.cumsum(lengths))
        assert writer.write("x", np.dtype(np.float32), iter(blocks), (2,)) == len(values)
        np.testing.assert_array_equal(np.load(writer.temporary / "x.npy"), values)


def test_the_checksums_are_those_of_the_files(store: Path) -> None:
    arrays = json.loads((store / "meta.json").read_text())["arrays"]
    for array in ARRAYS:
        assert arrays[array]["sha256"] == hashlib.sha256((store / f"{array}.npy").read_bytes()).hexdigest()


def test_nothing_is_copied_into_memory(store: Path) -> None:
    graph = open_store(store)
    maps = Path("/proc/self/maps").read_text()
    for array in ARRAYS:
        lines = [line for line in maps.splitlines() if line.endswith(str(store / f"{array}.npy"))]
        assert lines, array
        assert all(" r--" in line for line in lines)
    assert graph.num_nodes == 90


# What a store may have beside the graph


def test_class_names_and_extra_arrays(tmp_path: Path, graph: Graph) -> None:
    ids, text = np.arange(90) * 7, np.frombuffer("äbc".encode(), np.uint8)
    with StoreWriter(tmp_path / "s", "s", 3, class_names=("cat", "dög", "")) as writer:
        fill(writer, graph)
        assert writer.write_extra("ids", ids.dtype, np.array_split(ids, 4)) == 90
        writer.write_extra("id_text", text.dtype, [text])
        writer.finish()
    assert_equal(open_store(tmp_path / "s"), graph)
    verify_store(tmp_path / "s")
    assert read_meta(tmp_path / "s").class_names == ("cat", "dög", "")
    for array, wanted in (("ids", ids), ("id_text", text)):
        opened = open_extra(tmp_path / "s", array)
        assert isinstance(opened, np.memmap)
        assert not opened.flags.writeable
        np.testing.assert_array_equal(opened, wanted)
    assert open_extra(tmp_path / "s", "other") is None
    np.save(tmp_path / "s" / "ids.npy", ids + 1)
    with pytest.raises(InputError, match=r"ids\.npy changed since written"):
        verify_store(tmp_path / "s")
    (tmp_path / "s" / "ids.npy").unlink()
    for look in (open_store, lambda folder: open_extra(folder, "ids")):
        with pytest.raises(InputError, match=r"ids\.npy: is missing"):
            look(tmp_path / "s")


@pytest.mark.parametrize("name", ["x", "../ids", "Ids", "", "1st", "i" * 33])
def test_an_extra_array_by_such_a_name(tmp_path: Path, name: str) -> None:
    with (
        pytest.raises(InputError, match="cannot be an extra array of a graph store"),
        StoreWriter(tmp_path / "s", "s", 3) as writer,
    ):
        writer.write_extra(name, np.dtype(np.int64), [])


def test_class_names_for_some_classes(tmp_path: Path, graph: Graph) -> None:
    with StoreWriter(tmp_path / "s", "s", 3, class_names=("a", "b")) as writer:
        fill(writer, graph)
        with pytest.raises(InputError, match="2 class names; allowed: 3, or none"):
            writer.finish()


def test_a_store_of_an_older_version(store: Path, graph: Graph) -> None:
    """It has neither a checksum of meta.json nor any of the optional keys."""
    meta = json.loads((store / META).read_text())
    assert meta.pop("sha256") == meta_sha256(meta)
    assert sorted(meta) == sorted(
        ["format", "version", "name", "num_nodes", "num_edges", "num_features", "num_classes", "arrays", "origin"]
    )
    (store / META).write_text(json.dumps(meta))
    assert_equal(open_store(store), graph)
    assert read_meta(store).checksum == ""


@pytest.mark.parametrize(
    ("key", "value"), [("name", "other"), ("num_classes", 4), ("origin", {"split": 1}), ("sha256", None), ("more", 1)]
)
def test_a_changed_value_of_meta(store: Path, key: str, value: object) -> None:
    path = store / META
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    assert message(store) == f"{path}: changed since written (SHA-256 differs); prepare the graph again"


# What a writer refuses, and what it leaves behind


def test_an_existing_folder_is_left_alone(store: Path, graph: Graph, tmp_path: Path) -> None:
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match="exists already"):
        write_store(graph, store)
    dangling = tmp_path / "link"
    dangling.symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="exists already"):
        write_store(graph, dangling)
    dangling.unlink()
    assert {name: stamp for name, stamp in snapshot(tmp_path).items() if name in before} == before


def test_a_folder_made_in_the_meantime_is_left_alone(tmp_path: Path, graph: Graph) -> None:
    def write(writer: StoreWriter) -> None:
        fill(writer, graph)
        (tmp_path / "s").mkdir()
        (tmp_path / "s" / "diary.txt").write_text("dear")
        writer.finish()

    with pytest.raises(InputError, match="cannot be written"):
        attempt(tmp_path / "s", write)
    assert [path.name for path in tmp_path.rglob("*")] == ["s", "diary.txt"]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"x": torch.full((90, 4), torch.nan)}, "x has nan at node 0, feature 0"),
        ({"x": torch.zeros(91, 4)}, "x has shape"),
        ({"y": torch.full((90,), 3)}, "y has label 3 of node 0"),
        ({"train": torch.tensor([60])}, "node 60, which is also in train"),
        ({"train": torch.empty(0, dtype=torch.int64)}, "train has no nodes"),
        ({"indices": torch.zeros(5, dtype=torch.int32)}, "indptr has first entry"),
        ({"indptr": torch.zeros(91, dtype=torch.int64)}, "indptr has first entry"),
    ],
)
def test_a_wrong_graph_is_refused_at_the_end(
    tmp_path: Path, graph: Graph, changes: dict[str, torch.Tensor], complaint: str
) -> None:
    def write(writer: StoreWriter) -> None:
        fill(writer, graph, **changes)
        writer.finish()

    with pytest.raises(InputError, match=complaint):
        attempt(tmp_path / "s", write)
    assert list(tmp_path.iterdir()) == []


def test_missing_and_unknown_arrays(tmp_path: Path, graph: Graph) -> None:
    def write(writer: StoreWriter) -> None:
        writer.write("indptr", np.dtype(np.int64), [graph.indptr.numpy()])
        writer.finish()

    with pytest.raises(InputError, match="indices, x, y, train, valid, test not written"):
        attempt(tmp_path / "s", write)
    with StoreWriter(tmp_path / "s", "s", 3) as writer:
        for array, dtype in (("weights", "int64"), ("x", "float64"), ("indices", "int16"), ("y", "uint16")):
            with pytest.raises(InputError, match=f"{array} of {dtype} is no part of a graph store"):
                writer.create(array, np.dtype(dtype), (3,))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_while_space_is_reserved(tmp_path: Path, graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match="No space left on device"):
        attempt(tmp_path / "s", lambda writer: fill(writer, graph))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_files() -> Iterator[None]:
    """A limit on the size of files, which the kernel enforces as it does a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("way", ["create", "write"])
def test_a_file_that_the_system_will_not_let_grow(tmp_path: Path, way: str) -> None:
    def write(writer: StoreWriter) -> None:
        if way == "create":
            writer.create("x", np.dtype(np.float32), (1000, 100))[:] = 1.0
        else:
            writer.write("x", np.dtype(np.float32), (np.ones((10, 100)) for _ in range(100)), (100,))

    target = tmp_path / "s"
    with pytest.raises(InputError) as refusal:
        attempt(target, write)
    assert str(refusal.value) == f"{target}: cannot be written (File too large); nothing is left of it"
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_is_cleared(tmp_path: Path, graph: Graph) -> None:
    partial = tmp_path / ".s.partial"
    partial.mkdir()
    (partial / "x.npy").write_bytes(b"half")
    (partial / "edges-0-4.bucket").write_bytes(b"half")
    write_store(graph, tmp_path / "s")
    assert_equal(open_store(tmp_path / "s"), graph)
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_only_one_process_writes_a_store(tmp_path: Path, graph: Graph) -> None:
    with StoreWriter(tmp_path / "s", "s", 3) as writer:
        fill(writer, graph)
        with pytest.raises(InputError, match="another process is preparing it"):
            StoreWriter(tmp_path / "s", "s", 3)
        writer.finish()
    assert_equal(open_store(tmp_path / "s"), graph)


# Damaged stores


@pytest.mark.parametrize("array", ARRAYS)
def test_a_changed_byte_is_found(store: Path, array: str) -> None:
    path = store / f"{array}.npy"
    content = bytearray(path.read_bytes())
    content[-3] ^= 64
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match=rf"{array}\.npy changed since written \(SHA-256 differs\)"):
        verify_store(store)


def test_all_changed_arrays_are_named(store: Path) -> None:
    for array in ("y", "x"):
        path = store / f"{array}.npy"
        path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    with pytest.raises(InputError, match=r"x\.npy, y\.npy changed"):
        verify_store(store)


@pytest.mark.parametrize("array", ARRAYS)
def test_a_truncated_or_missing_array(store: Path, array: str) -> None:
    path = store / f"{array}.npy"
    os.truncate(path, path.stat().st_size - 1)
    assert f"{path}: has" in message(store)
    os.truncate(path, 20)
    assert f"{path}: cannot be read" in message(store)
    path.unlink()
    assert message(store) == f"{path}: is missing; prepare the graph again"


@pytest.mark.parametrize(
    "other",
    [
        np.zeros(91, dtype=np.int32),
        np.zeros(91, dtype=">i8"),
        np.zeros((91, 1), dtype=np.int64),
        np.zeros(90, dtype=np.int64),
        np.zeros(91, dtype=[("a", "<i8")]),
    ],
    ids=str,
)
def test_another_array_in_its_place(store: Path, other: np.ndarray[Any, Any]) -> None:
    np.save(store / "indptr.npy", other)
    assert f"{store / 'indptr.npy'}: is" in message(store)


def test_indptr_that_does_not_fit(store: Path) -> None:
    np.save(store / "indptr.npy", np.arange(91))
    assert "indptr.npy: has first entry 0 and last entry 90; allowed: 0 and the number of edges" in message(store)


def test_no_store(tmp_path: Path) -> None:
    assert message(tmp_path) == f"{tmp_path}: is no graph store (meta.json is missing)"
    assert not is_store(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[]", b"{}", b"\xff\xfe", b"1" * 5000, b"[" * 100_000])
def test_meta_that_is_none(store: Path, content: bytes) -> None:
    (store / "meta.json").write_bytes(content)
    assert str(store / "meta.json") in message(store)


def sign(store: Path, meta: dict[str, Any]) -> None:
    """Write meta.json with a checksum that is right."""
    (store / META).write_text(json.dumps(meta | {"sha256": meta_sha256(meta)}))


HUGE = 10**30
EXTRA = {"dtype": "int64", "shape": [90], "sha256": "0"}


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("format",), "another"),
        (("format",), ["ugts_dist graph store"]),
        (("name",), 3),
        (("num_classes",), 0),
        (("num_classes",), True),
        (("num_classes",), 2.5),
        (("num_classes",), HUGE),
        (("num_nodes",), 91),
        (("num_edges",), "many"),
        (("num_features",), None),
        (("origin",), []),
        (("origin",), {"split": {}}),
        (("arrays",), None),
        (("arrays",), [1, 2]),
        (("arrays", "x"), None),
        (("arrays", "x"), "float32"),
        (("arrays", "x", "dtype"), "float64"),
        (("arrays", "x", "dtype"), ["float32"]),
        (("arrays", "x", "dtype"), "object"),
        (("arrays", "x", "shape"), [90]),
        (("arrays", "x", "shape"), [90, 0]),
        (("arrays", "x", "shape"), [-90, 4]),
        (("arrays", "x", "shape"), [90.0, 4.0]),
        (("arrays", "x", "shape"), [HUGE, 4]),
        (("arrays", "x", "shape"), [2**62, 4]),
        (("arrays", "x", "shape"), "90, 4"),
        (("arrays", "x", "sha256"), None),
        (("arrays", "y", "shape"), [2**62]),
        (("arrays", "indices", "dtype"), "int64"),
        (("arrays", "../x"), {}),
        (("class_names",), "abc"),
        (("class_names",), ["a", "b", 3]),
        (("class_names",), ["a", "b"]),
        (("extra_arrays",), []),
        (("extra_arrays",), {"x": EXTRA}),
        (("extra_arrays",), {"../ids": EXTRA}),
        (("extra_arrays",), {"ids": EXTRA | {"dtype": "object"}}),
        (("extra_arrays",), {"ids": EXTRA | {"shape": []}}),
        (("extra_arrays",), {"ids": EXTRA}),
    ],
    ids=str,
)
def test_meta_that_does_not_fit(store: Path, place: tuple[str, ...], value: object) -> None:
    path = store / "meta.json"
    meta = json.loads(path.read_text())
    inner = meta
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    sign(store, meta)
    assert message(store).startswith(str(store))
    assert "SHA-256 differs" not in message(store)


@pytest.mark.parametrize("version", [0, 4, "1", None, [1] * 1000])
def test_another_version(store: Path, version: object) -> None:
    path = store / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": version}))
    assert "meta.json: version is" in message(store)
    assert message(store).endswith("allowed are 1 to 3; prepare the graph again")


@pytest.mark.parametrize("key", ["format", "version", "name", "num_classes", "arrays", "origin", "num_nodes"])
def test_meta_without_a_field(store: Path, key: str) -> None:
    path = store / "meta.json"
    meta = json.loads(path.read_text())
    del meta[key]
    sign(store, meta)
    assert str(path) in message(store)
