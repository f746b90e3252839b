"""Text files that a user names. Only regular files of bounded size are read, and no content can hang a parser."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any, BinaryIO

from ugts_dist.errors import InputError

TOML_BYTES = 2**20
JSON_BYTES = 2**26
MAX_DEPTH = 32  # of tables in tables, or lists in lists

# The time of tomllib grows with the square of the number of a key's parts: a minute for some ten thousand.
_DEEP_KEY = re.compile(rf"""(?<![\w"'-])(?:[\w"'-]+[ \t]*\.[ \t]*){{{MAX_DEPTH}}}""")


def open_regular(path: str | Path) -> BinaryIO:
    """Open a regular file for reading. Raises OSError for everything else.

    Without O_NONBLOCK, opening a pipe would wait, and a device may be endless.
    """
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return file


def read_bytes(path: str | Path, limit: int) -> bytes:
    """The content of a regular file. Raises OSError, and ValueError for a file of more than `limit` bytes."""
    with open_regular(path) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"more than {limit:,} bytes")
    return data


def reason_of(error: OSError | ValueError) -> str:
    """Why a file can't be read, without its name."""
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def read_text(path: str | Path, what: str, limit: int) -> str:
    """Read a UTF-8 text, with or without a byte order mark; `what` is the expected file, such as "a space".

    Raises InputError for a file that is missing, not regular, too large or not UTF-8.
    """
    try:
        return read_bytes(path, limit).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        reason = f"not UTF-8 at byte {error.start}"
    except (OSError, ValueError) as error:
        reason = reason_of(error)
    raise InputError(f"{path}: cannot be read as {what} ({reason})")


def read_toml(path: str | Path, what: str) -> dict[str, Any]:
    """Read a TOML file. Raises InputError, which names the file."""
    text = read_text(path, what, TOML_BYTES)
    try:
        return parse_toml(text)
    except ValueError as error:
        raise InputError(f"{path}: cannot be read as {what} ({error})") from None


def read_json(path: str | Path, what: str) -> dict[str, Any]:
    """Read a JSON file with an object. Raises InputError, which names the file."""
    text = read_text(path, what, JSON_BYTES)
    try:
        return parse_json(text)
    except ValueError as error:
        raise InputError(f"{path}: cannot be read as {what} ({error})") from None


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML. Raises ValueError for anything else, nesting deeper than 32, and numbers of more than 64 bits."""
    if _DEEP_KEY.search(text):
        raise ValueError("nested too deeply")
    try:
        values = tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _check(values, "", MAX_DEPTH)
    return values


def parse_json(text: str) -> dict[str, Any]:
    """Parse a JSON object. Raises ValueError for anything else, nesting deeper than 32, and numbers of 65 bits."""
    try:
        values = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError("it is no object")
    _check(values, "", MAX_DEPTH)
    return values


def _check(value: Any, where: str, levels: int) -> None:
    """Raise ValueError for values that would exceed the recursion limit, or numbers with very long texts."""
    if isinstance(value, dict | list):
        if not levels:
            raise ValueError("nested too deeply")
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            _check(inner, f"{where}.{name}" if where else str(name), levels - 1)
    elif isinstance(value, int) and value.bit_length() > 64:
        raise ValueError(f"{where} has {value.bit_length():,} bits, allowed are 64")
