from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ugts_dist.errors import InputError
from ugts_dist.tickets.files import new_file


def test_a_file_is_there_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with new_file(path) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]


def fail(path: Path, error: Exception) -> None:
    with new_file(path) as file:
        file.write(b"half")
        raise error


def test_of_a_failure_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a, which can't be written \(No space left on device\)"):
        fail(tmp_path / "a", OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(ZeroDivisionError):
        fail(tmp_path / "a", ZeroDivisionError())
    assert not list(tmp_path.iterdir())


def race(path: Path) -> None:
    with new_file(path) as file:
        file.write(b"ours")
        path.write_bytes(b"theirs")


def test_a_file_that_came_to_be_in_the_meantime_stays(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="which exists"):
        race(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"theirs"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_dangling_link_is_a_file(tmp_path: Path) -> None:
    os.symlink(tmp_path / "none", tmp_path / "a")
    with pytest.raises(InputError, match="which exists"), new_file(tmp_path / "a"):
        pass
    assert (tmp_path / "a").is_symlink()
