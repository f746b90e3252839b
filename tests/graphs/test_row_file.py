"""Rows read from the file of a mapped table, against the table itself."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ugts_dist.errors import InputError
from ugts_dist.graphs import direct_reads, mapping, row_file
from ugts_dist.graphs.direct_reads import DirectReads
from ugts_dist.graphs.mapping import MappedFile, mapped_file, read_without_ahead
from ugts_dist.graphs.row_file import PlainReads, RowFile


def mapped(path: Path, table: Tensor) -> Tensor:
    np.save(path, table.view(torch.int16).numpy() if table.dtype == torch.bfloat16 else table.numpy())
    tensor = torch.from_numpy(np.load(path, mmap_mode="r+"))
    return tensor.view(table.dtype)


def opened(table: Tensor) -> RowFile:
    file = mapped_file(table)
    assert file is not None
    return RowFile(table, file)


def direct(path: Path) -> DirectReads:
    try:
        return DirectReads(path, 1024)
    except OSError as error:
        pytest.skip(f"no direct reads here: {error}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rows")


@settings(max_examples=60, deadline=None)
@given(
    num_rows=st.integers(1, 5000),
    width=st.sampled_from([1, 3, 100, 768, 1024, 2500]),
    half=st.booleans(),
    share=st.sampled_from([0.001, 0.1, 0.7, 1.0]),
    seed=st.integers(0, 99),
)
def test_rows_are_those_of_the_table(
    folder: Path, num_rows: int, width: int, half: bool, share: float, seed: int
) -> None:
    g = torch.Generator().manual_seed(seed)
    num_rows = min(num_rows, 2_000_000 // width)
    content = torch.randn(num_rows, width, generator=g)
    table = mapped(folder / f"{seed}-{width}-{half}.npy", content.bfloat16() if half else content)
    rows = torch.randperm(num_rows, generator=g)[: max(1, int(share * num_rows))].sort().values
    slots = torch.randperm(rows.numel() + 3, generator=g)[: rows.numel()]
    out = torch.full((rows.numel() + 3, width), -7.0, dtype=table.dtype)
    file = opened(table)
    file.read(rows, out, slots)
    file.close()
    assert torch.equal(out[slots], table[rows])
    assert int((out == -7.0).all(1).sum()) == 3, "no other slot is written"
    assert file.bytes_read >= rows.numel() * table[0].nbytes


def test_neighbouring_rows_are_read_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = mapped(tmp_path / "x.npy", torch.randn(4000, 1024))
    file, places = opened(table), list[int]()
    kind: Any = type(file._readers[0])
    before = kind.start

    def noted(reader: Any, memory: Any, offsets: Any, *others: Any) -> None:
        places.extend(offsets.tolist())
        before(reader, memory, offsets, *others)

    monkeypatch.setattr(kind, "start", noted)
    rows = torch.tensor([0, 1, 2, 3, 100, 101, 3999])
    out = torch.empty(7, 1024)
    file.read(rows, out, torch.arange(7))
    assert torch.equal(out, table[rows])
    assert len(places) == 3
    file.read(rows[:0], out, rows[:0])
    file.close()
    assert len(places) == 3


@pytest.mark.parametrize("kind", [DirectReads, PlainReads])
def test_the_end_of_the_object_closes_the_file(
    tmp_path: Path, kind: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_file, "_reader", direct if kind is DirectReads else PlainReads)
    table = mapped(tmp_path / "x.npy", torch.randn(50, 8))

    def num_open() -> int:
        return sum(os.path.realpath(name) == str(tmp_path / "x.npy") for name in Path("/proc/self/fd").iterdir())

    before = num_open()  # the mapping itself
    file, out = opened(table), torch.empty(50, 8)
    file.read(torch.arange(50), out, torch.arange(50))
    assert num_open() == before + 2
    del file
    assert num_open() == before


def test_the_file_of_a_mapped_tensor(tmp_path: Path) -> None:
    table = mapped(tmp_path / "x.npy", torch.randn(10, 4))
    assert mapped_file(table) == MappedFile(tmp_path / "x.npy", 128)
    assert mapped_file(table[2:]) == MappedFile(tmp_path / "x.npy", 128 + 2 * 16)
    assert mapped_file(table.t()) is None, "rows are not together"
    assert mapped_file(table.clone()) is None, "in memory"
    assert mapped_file(table[:0]) is None
    os.replace(tmp_path / "x.npy", tmp_path / "moved.npy")
    assert mapped_file(table) == MappedFile(tmp_path / "moved.npy", 128)
    np.save(tmp_path / "other.npy", np.zeros((10, 4), np.float32))
    os.replace(tmp_path / "other.npy", tmp_path / "moved.npy")
    assert mapped_file(table) is None, "another file has the name now"


@pytest.mark.parametrize("kind", [DirectReads, PlainReads])
def test_a_read_that_fails_is_one_line(tmp_path: Path, kind: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails, in the third of several parts; the reads that are in flight are waited for."""
    made = direct if kind is DirectReads else PlainReads
    monkeypatch.setattr(row_file, "_reader", made)
    table = mapped(tmp_path / "x.npy", torch.randn(6000, 4096))
    file, before, count = opened(table), kind.wait, 0

    def failing(reader: Any) -> Any:
        nonlocal count
        count += 1
        read = before(reader)
        if count == 3:
            raise OSError(5, "Input/output error")
        return read

    rows = torch.arange(6000)
    with monkeypatch.context() as patch:
        patch.setattr(kind, "wait", failing)
        with pytest.raises(InputError, match=r"x\.npy: Input/output error, while rows of it were read"):
            file.read(rows, torch.empty(6000, 4096), rows)
    out = torch.empty(6000, 4096)
    file.read(rows, out, rows)  # the disk works again
    file.close()
    assert torch.equal(out, table)


def test_the_system_tells_of_a_failed_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(8192))
    reader, memory = direct(tmp_path / "x"), np.frombuffer(mmap.mmap(-1, 8192), np.uint8)
    one = np.array([1], np.int64)

    def read_into_nothing() -> None:
        reader.start(memory, 0 * one, 4096 * one, (4096 - memory.ctypes.data) * one)
        reader.wait()

    with pytest.raises(OSError, match="Bad address"):
        read_into_nothing()
    assert reader.wait().tolist() == [], "what was not started is not waited for"
    reader.start(memory, 4096 * one, 8192 * one, 0 * one)
    assert reader.wait().tolist() == [4096]
    assert reader.wait().tolist() == []
    reader.close()


def test_a_file_that_became_shorter_is_one_line(tmp_path: Path) -> None:
    table = mapped(tmp_path / "x.npy", torch.randn(5000, 256))
    file = opened(table)
    os.truncate(tmp_path / "x.npy", 100_000)
    with pytest.raises(InputError, match=r"x\.npy: has no byte 4,096,000, allowed are 5,120,128 bytes"):
        file.read(torch.tensor([4000]), torch.empty(1, 256), torch.tensor([0]))
    file.close()


def test_systems_without_direct_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_reads.platform, "machine", lambda: "abacus")  # type: ignore[attr-defined]
    content = torch.randn(6000, 1000)
    table, slots = mapped(tmp_path / "x.npy", content), torch.randperm(3000)
    file, out = opened(table), torch.empty(3000, 1000)
    assert {type(reader) for reader in file._readers} == {PlainReads}
    file.read(torch.arange(0, 6000, 2), out, slots)
    file.close()
    assert torch.equal(out[slots], content[::2])


def test_pages_are_read_ahead_only_where_memory_suffices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flag `rr` of /proc/self/smaps says that a mapping is read at random."""

    def flags() -> str:
        _, _, after = Path("/proc/self/smaps").read_text().partition(str(tmp_path / "x.npy"))
        return next(line for line in after.splitlines() if line.startswith("VmFlags"))

    table = mapped(tmp_path / "x.npy", torch.randn(5000, 8))
    read_without_ahead([table])
    assert " rr" not in flags()
    monkeypatch.setattr(mapping, "available_memory", lambda: table.nbytes)
    read_without_ahead([table])
    assert " rr" in flags()
    read_without_ahead([])


def test_reads_that_can_not_be_started_are_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system takes some of the reads and refuses the others; waiting for these would never end."""
    content = torch.randn(5000, 256)
    table = mapped(tmp_path / "x.npy", content)
    monkeypatch.setattr(row_file, "_reader", direct)
    file, rows, calls = opened(table), torch.arange(0, 5000, 50), list[int]()
    before = DirectReads._call

    def partial(reader: DirectReads, call: int, *arguments: Any) -> int:
        if call != direct_reads._SUBMIT:
            return before(reader, call, *arguments)
        calls.append(call)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        context, _, place = arguments
        return before(reader, call, context, 3, place)

    with monkeypatch.context() as patch:
        patch.setattr(DirectReads, "_call", partial)
        with pytest.raises(InputError, match="Input/output error, while rows of it were read"):
            file.read(rows, torch.empty(100, 256), torch.arange(100))
    out = torch.empty(100, 256)
    file.read(rows, out, torch.arange(100))
    assert torch.equal(out, content[rows])
