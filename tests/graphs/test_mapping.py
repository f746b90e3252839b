from __future__ import annotations

import mmap
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ugts_dist.graphs import mapping


@pytest.mark.skipif(sys.platform != "linux", reason="advice to the system is for Linux")
def test_all_pages_are_read_in_pieces_that_the_system_accepts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of a longer piece the system would read as much as its read-ahead is, often 128 KiB."""
    np.arange(200_003, dtype=np.float32).tofile(tmp_path / "table")
    table = torch.from_file(str(tmp_path / "table"), size=200_003)[1001:]
    pieces: list[tuple[int, int]] = []

    def advise(begin: int, length: int, advice: int) -> None:
        assert advice == mmap.MADV_WILLNEED
        pieces.append((begin, begin + length))

    monkeypatch.setattr(mapping, "_advise", advise)
    mapping.read_soon(table)
    assert all(begin % mmap.PAGESIZE == 0 and end - begin <= 1 << 17 for begin, end in pieces)
    assert pieces[0][0] <= table.data_ptr()
    assert pieces[-1][1] == table.data_ptr() + table.nbytes
    assert [end for _, end in pieces[:-1]] == [begin for begin, _ in pieces[1:]]
