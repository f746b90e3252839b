"""Safetensors files with impossible headers."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from tests.faults.damaged_bytes import replace

HUGE = 10**400  # no float64 can hold it
DEEP = 100_000
NAMES = ["", "a\nb", "\x1b[2J", "../../x", "x" * 10**5, "\u202egnp", "a/b/c", "__proto__", "\0"]

_DTYPES: list[Any] = [
    *("F8_E4M3", "C64", "float32", "f32", "", None, 5, [], {}, "X" * 10**5, "U64", "OBJECT", "F32\0"),
]
_SHAPES: list[Any] = [
    *([-1], [2**63], [2**62, 4], [2**31] * 4, [1.5], [None], "1", [True], [[1]], [1] * 100, [HUGE], [2**40]),
    *([0] * 10**5, {}, None, [0, 2**62]),
]
_OFFSETS: list[Any] = [
    *([4, 0], [-4, 0], [0, 2**63], [0, 5], [2**64, 2**64 + 4], [0], [], [0, 4, 8], ["0", "4"], [HUGE] * 2),
    *([0.0, 4.0], [None, None], [False, 4]),
]


def _file(header: Any, size: int = 4) -> bytes:
    """A file with this header, as text or as an object, and data of this size."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + bytes(size)


def _tensor(dtype: Any = "F32", shape: Any = (1,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


_TEXTS: dict[str, Callable[[], bytes]] = {
    "nested deeply": lambda: b'{"a":' * DEEP + b"0" + b"}" * DEEP,
    "lists nested deeply": lambda: b"[" * 2**20,
    "a list": lambda: b"[]",
    "null": lambda: b"null",
    "nothing": lambda: b"",
    "no UTF-8": lambda: b'{"\xff\xfe":0}',
    "NaN": lambda: b'{"a":NaN}',
    "an endless integer": lambda: b'{"a":' + b"9" * 10**6 + b"}",
    "a name twice": lambda: b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":0}',
    "millions of empty lists": lambda: b'{"a":[' + b"[]," * 2**22 + b"0]}",
    "a million names": lambda: b"{" + b",".join(b'"%d":0' % i for i in range(10**6)) + b"}",
}
_HEADERS: dict[str, Callable[[], tuple[Any, int]]] = {
    "half a surrogate": lambda: ({"\ud800": _tensor()}, 4),
    "an entry of no form": lambda: ({"a": [1]}, 4),
    "an entry with more": lambda: ({"a": _tensor() | {"more": 1}}, 4),
    "overlapping tensors": lambda: ({"a": _tensor(), "b": _tensor()}, 8),
    "a gap": lambda: ({"a": _tensor(), "b": _tensor(offsets=[8, 12])}, 12),
    "bytes left over": lambda: ({"a": _tensor()}, 400),
    "no metadata": lambda: ({"a": _tensor()}, 4),
    "metadata as a list": lambda: ({"__metadata__": [], "a": _tensor()}, 4),
    "metadata of another type": lambda: ({"__metadata__": {"trained": {}}, "a": _tensor()}, 4),
    "metadata nested deeply": lambda: ({"__metadata__": {"trained": "[" * DEEP}, "a": _tensor()}, 4),
    "a hundred thousand tensors": lambda: ({f"{i}": _tensor("F32", [0], [0, 0]) for i in range(10**5)}, 0),
}


def raw_tensors(path: Path, random: Random) -> str:
    """One of these instead of the file."""
    kind = random.choice(("length", "text", "header", "dtype", "shape", "offsets"))
    if kind == "length":
        length = random.choice((2**63, 2**64 - 1, 2**32, 2**24 + 1, 3))
        told, data = f"header of {length} bytes", struct.pack("<Q", length) + b"{}"
    elif kind == "text":
        told = random.choice(list(_TEXTS))
        data = _file(_TEXTS[told]())
    elif kind == "header":
        told = random.choice(list(_HEADERS))
        data = _file(*_HEADERS[told]())
    else:
        value = random.choice({"dtype": _DTYPES, "shape": _SHAPES, "offsets": _OFFSETS}[kind])
        told, data = f"{kind} {value!r:.40}", _file({"a": _tensor(**{kind: value})})
    replace(path, data)
    return told
