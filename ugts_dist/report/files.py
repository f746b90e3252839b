"""Files of a folder that may be damaged: what can be read is, and what can't is named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ugts_dist.errors import InputError

_MAX_TEXT = 2**26  # bytes
_MAX_DEPTH = 32  # of JSON


@dataclass
class Folder:
    """A folder, and what was wrong with its files.

    Attributes:
        problems: one line for each file that could not be used.
    """

    path: Path
    problems: list[str] = field(default_factory=list)

    def has(self, name: str) -> bool:
        return (self.path / name).is_file()

    def text(self, name: str) -> str | None:
        """None where there is no such file, or none that can be read."""
        if not self.has(name):
            return None
        try:
            return read_text(self.path / name)
        except InputError as error:
            self.problems.append(str(error))
            return None

    def json(self, name: str) -> dict[str, Any] | None:
        """An object; None where there is none."""
        text = self.text(name)
        if text is None:
            return None
        try:
            return parse_object(text)
        except ValueError as error:
            self.problems.append(f"{self.path / name}: damaged ({error})")
            return None


def read_text(path: Path) -> str:
    """A text file. Raises InputError where it can't be read."""
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_TEXT + 1)
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from None
    if len(data) > _MAX_TEXT:
        raise InputError(f"{path}: more than {_MAX_TEXT:,} bytes, the most that is read for a page")
    return data.decode(errors="replace")


def parse_object(text: str) -> dict[str, Any]:
    """A JSON object. Raises ValueError for anything else."""
    try:
        values = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError("it is no object")
    _check_depth(values, _MAX_DEPTH)
    return values


def _check_depth(value: Any, levels: int) -> None:
    if isinstance(value, dict | list):
        if not levels:
            raise ValueError("nested too deeply")
        for inner in value.values() if isinstance(value, dict) else value:
            _check_depth(inner, levels - 1)


def number(values: Mapping[str, Any], name: str) -> int | float | None:
    """A finite number of an object from a file; None where it is something else."""
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < 1e300 else None
