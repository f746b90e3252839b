"""The result of a run is used only if its file is unchanged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ugts_dist.checkpointing.result_file import NAME, read_result, write_result
from ugts_dist.errors import InputError

RESULT = {"epoch": 3, "valid": 0.5, "test": 0.25, "path": "runs/a/best.ticket", "metric": "accuracy"}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_result(tmp_path, RESULT)
    assert read_result(tmp_path) == RESULT
    with pytest.raises(FileNotFoundError):
        read_result(tmp_path / "other")


def test_a_result_of_an_older_version_has_no_checksum(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(json.dumps(RESULT))
    assert read_result(tmp_path) == RESULT


def read_or_none(folder: Path) -> dict[str, Any] | None:
    """The result; None if it is refused."""
    try:
        return read_result(folder)
    except InputError as error:
        return None if str(error).startswith(f"{folder / NAME}: damaged (") else {}


def test_every_flipped_bit_is_told_or_changes_nothing(tmp_path: Path) -> None:
    write_result(tmp_path, RESULT)
    whole, told = (tmp_path / NAME).read_bytes(), 0
    start = whole.index(b'"sha256"')
    for place in range(len(whole)):
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[place] ^= 1 << bit
            (tmp_path / NAME).write_bytes(flipped)
            result = read_or_none(tmp_path)
            told += result is None
            # The name of the checksum may change: then it is one value more in a file of an older version.
            assert result is None or (place >= start and RESULT.items() <= result.items())
    assert told > 7.5 * len(whole)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"path": 3}', '{"path": "a", "sha256": null}', "[" * 10_000])
def test_what_is_no_result(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    with pytest.raises(InputError, match=r"result\.json: damaged"):
        read_result(tmp_path)
