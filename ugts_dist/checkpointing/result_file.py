"""`result.json`, the result of a run: written last, with a checksum of its values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ugts_dist.atomic import write_text
from ugts_dist.errors import InputError
from ugts_dist.text_files import JSON_BYTES, parse_json, read_bytes, reason_of

NAME = "result.json"


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    """Write the result of the run in `folder` atomically."""
    write_text(folder / NAME, json.dumps({**result, "sha256": _sha256(result)}, indent=1))


def read_result(folder: Path) -> dict[str, Any]:
    """The result of the run in `folder`, without the checksum, which files of older versions lack.

    Raises FileNotFoundError if there is none, and InputError, with the file's name, for a damaged one.
    """
    file = folder / NAME
    try:
        result = parse_json(read_bytes(file, JSON_BYTES).decode())
        if "sha256" in result and result.pop("sha256") != _sha256(result):
            raise ValueError("its checksum is wrong")
        if not isinstance(result["path"], str):
            raise ValueError("path is not a file name")
    except FileNotFoundError:
        raise
    except KeyError as error:
        raise _damaged(file, f"{error} is missing") from None
    except (OSError, ValueError) as error:
        raise _damaged(file, reason_of(error)) from None
    return result


def find_result(folder: Path) -> dict[str, Any] | None:
    """The result of the run in `folder`, with the current path of its network; None if there is none.

    Raises InputError as `read_result`.
    """
    try:
        result = read_result(folder)
    except FileNotFoundError:
        return None
    return {**result, "path": str(folder / Path(result["path"]).name)}


def _damaged(file: Path, reason: str) -> InputError:
    return InputError(f"{file}: damaged ({reason}); remove this file to run to the end again")


def _sha256(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(dict(values), sort_keys=True).encode()).hexdigest()
