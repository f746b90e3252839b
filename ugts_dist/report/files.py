"""Files of a folder that may be damaged: intact ones are read, and problems are collected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ugts_dist.checkpointing.result_file import read_result
from ugts_dist.errors import InputError
from ugts_dist.text_files import JSON_BYTES, parse_json, read_bytes, reason_of


@dataclass
class Folder:
    """A folder, and the problems with its files.

    Attributes:
        problems: one line for each file that could not be used.
    """

    path: Path
    problems: list[str] = field(default_factory=list)

    def has(self, name: str) -> bool:
        return (self.path / name).is_file()

    def text(self, name: str) -> str | None:
        """The text of a file; None if it is missing or can't be read."""
        if not self.has(name):
            return None
        try:
            # A byte that is not text damages only a line, or a word of a document.
            return read_bytes(self.path / name, JSON_BYTES).decode(errors="replace")
        except (OSError, ValueError) as error:
            self.problems.append(f"{self.path / name}: can't be read ({reason_of(error)})")
            return None

    def json(self, name: str) -> dict[str, Any] | None:
        """A JSON object; None if there is none."""
        text = self.text(name)
        if text is None:
            return None
        try:
            return parse_json(text)
        except ValueError as error:
            self.problems.append(f"{self.path / name}: damaged ({error})")
            return None

    def result(self, run: str = ".") -> dict[str, Any] | None:
        """The result of a run in the folder; None if it is not finished."""
        try:
            return read_result(self.path / run)
        except FileNotFoundError:
            return None
        except InputError as error:
            self.problems.append(str(error))
            return None


def number(values: Mapping[str, Any], name: str) -> int | float | None:
    """A finite number of an object from a file; None for any other value."""
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < 1e300 else None
