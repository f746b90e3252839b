"""Named tensors and a JSON header in one safetensors file, written whole and read without being trusted.

Such a file may come from anybody. Reading it runs no code, maps no memory (a mapped file that is cut short kills the
process), allocates no more than the file holds, and checks everything before it is used; the safetensors header is
parsed here, so that one checker decides what is allowed. A SHA-256 over the header and over name, type, shape and
bytes of every tensor finds what bad memory or a bad disk has changed.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from reprlib import repr as short
from typing import Any, BinaryIO, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from torch import Tensor

from ugts_dist.atomic import write_file
from ugts_dist.errors import InputError

_MAX_HEADER = 2**24  # bytes
_MAX_DEPTH = 32  # of the JSON
_MAX_AXES = 32
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
T = TypeVar("T")


def write_tensor_file(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any], kind: str) -> int:
    """Write `tensor_file_bytes` under a temporary name, flush, rename. Returns the size in bytes."""
    data = tensor_file_bytes(tensors, header, kind)
    write_file(path, data)
    return len(data)


def tensor_file_bytes(tensors: Mapping[str, Tensor], header: Mapping[str, Any], kind: str) -> bytes:
    """The file as bytes, always the same for the same content: a safetensors file with one metadata entry.

    Args:
        tensors: of any shape, on any device.
        header: what JSON can hold; without the key `sha256`, which is added here.
        kind: what sort of file this is; the name of the metadata entry that holds the header.

    Raises: ValueError for what would not be read back: a header that JSON can't hold (NaN included), one that is too
    large or nested too deeply; TypeError for a type of tensor that is not read back.
    """
    if "sha256" in header:
        raise ValueError("the header has a key 'sha256', which is the checksum's")
    held = on_cpu(tensors)
    sealed = {**header, "sha256": checksum(to_json(header).encode(), held).hex()}
    # One entry only: safetensors writes several in a random order.
    data = safetensors.torch.save(held, {kind: to_json(sealed)})
    length = _header_length(data[:8], len(data))
    _, metadata = _parse(data[8 : 8 + length], len(data) - 8 - length)
    _own_header(metadata, kind)
    return data


def on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as a file takes them. Raises TypeError for a type that is not read back."""
    held = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    for name, value in held.items():
        if value.dtype not in DTYPES.values():
            raise TypeError(f"tensor {name!r} is {value.dtype}, allowed are {', '.join(map(str, DTYPES.values()))}")
    return held


def read_tensor_file(
    path: Path, kind: str, what: str, max_bytes: int = 2**36
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a file that `write_tensor_file` wrote.

    Args:
        path: of a regular file.
        kind: as it was written.
        what: the file that is expected, for messages, such as "a ticket (.ticket)".
        max_bytes: the largest file to read.

    Raises: InputError, in one line that begins with the path, for everything else than a whole and unchanged file of
    this kind.
    """
    return read_safetensors(path, what, max_bytes, lambda metadata, tensors: unsealed(metadata, tensors, kind))


def read_safetensors(path: Path, what: str, max_bytes: int, understood: Callable[[Any, dict[str, Tensor]], T]) -> T:
    """What `understood` makes of a safetensors file's metadata, None where it has none, and tensors.

    Its ValueError tells that the file is not `what` it should be. Otherwise as `read_tensor_file`.
    """
    try:
        # A pipe opened without O_NONBLOCK would wait for a writer for ever.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            return understood(*_read(file, max_bytes))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {what} is needed") from None
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); {what} is needed") from None
    except MemoryError:
        raise InputError(f"{path}: too large for this machine's memory; {what} is needed") from None
    except ValueError as error:
        raise InputError(f"{path}: not {what}, or damaged ({' '.join(str(error).split())})") from None


class _Entry(NamedTuple):
    """One tensor as the safetensors header describes it: its bytes are data[begin:end]."""

    begin: int
    end: int
    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]


def unsealed(metadata: Any, tensors: dict[str, Tensor], kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a file with such metadata. Raises ValueError for another kind or a wrong checksum."""
    header = _own_header(metadata, kind)
    if header.pop("sha256", None) != checksum(to_json(header).encode(), tensors).hex():
        raise ValueError("its checksum is wrong")
    return header, tensors


def _read(file: BinaryIO, max_bytes: int) -> tuple[Any, dict[str, Tensor]]:
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is no regular file")
    size = status.st_size
    if not 8 <= size <= max_bytes:
        raise ValueError(f"it has {size} bytes, allowed are 8 to {max_bytes}")
    length = _header_length(_take(file, 8), size)
    entries, metadata = _parse(_take(file, length), size - 8 - length)
    return metadata, {entry.name: _tensor(file, entry) for entry in entries}


def _header_length(field: bytes, size: int) -> int:
    length, most = int.from_bytes(field, "little"), min(size - 8, _MAX_HEADER)
    if length > most:
        raise ValueError(f"its header has {length} bytes, allowed are {most}")
    return length


def _parse(header: bytes, size: int) -> tuple[list[_Entry], Any]:
    """What the safetensors header says: the tensors in the order of their bytes, and its metadata."""
    described = from_json(header.decode())
    metadata = described.pop("__metadata__", None)
    return _in_order([_entry(name, value) for name, value in described.items()], size), metadata


def _own_header(metadata: Any, kind: str) -> dict[str, Any]:
    if not isinstance(metadata, dict) or metadata.keys() != {kind} or not isinstance(metadata[kind], str):
        raise ValueError(f"a safetensors file, but without the metadata {kind!r} alone")
    return from_json(metadata[kind])


def _take(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise ValueError("it is shorter than it was a moment ago")
    return data


def _in_order(entries: list[_Entry], size: int) -> list[_Entry]:
    """The tensors in the order of their bytes, which must fill the data's `size` bytes without gap or overlap."""
    entries = sorted(entries, key=lambda entry: entry[:3])
    position = 0
    for entry in entries:
        if entry.begin != position:
            raise ValueError(f"tensor {short(entry.name)} begins at byte {entry.begin}, allowed is {position}")
        position = entry.end
    if position != size:
        raise ValueError(f"its tensors end at byte {short(position)} of the data, which has {size}")
    return entries


def _entry(name: str, value: Any) -> _Entry:
    told = f"tensor {short(name)}"
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{told} is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"{told} has dtype {short(dtype)}, allowed are {', '.join(DTYPES)}")
    if not _are_sizes(shape) or len(shape) > _MAX_AXES or math.prod(max(axis, 1) for axis in shape) >= 2**60:
        raise ValueError(f"{told} has shape {short(shape)}, which no tensor can have")
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"{told} has data_offsets {short(offsets)}, allowed are two positions")
    needed = math.prod(shape) * DTYPES[dtype].itemsize
    if offsets[1] - offsets[0] != needed:
        raise ValueError(f"{told} has data_offsets {short(offsets)}, but takes {needed} bytes")
    return _Entry(offsets[0], offsets[1], name, DTYPES[dtype], tuple(shape))


def _are_sizes(values: Any) -> bool:
    """Whether it is a list of whole numbers that an int64 can hold, none of them negative."""
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**63 for value in values)


def _tensor(file: BinaryIO, entry: _Entry) -> Tensor:
    try:
        value = torch.empty(entry.shape, dtype=entry.dtype)
    except RuntimeError as error:  # torch's way to say that there is no memory
        raise MemoryError from error
    data = _bytes_of(value)
    if file.readinto(data.data) != data.size:  # type: ignore[attr-defined]  # open("rb") gives a buffered reader
        raise ValueError("it is shorter than it was a moment ago")
    if entry.dtype == torch.bool and data.size and data.max() > 1:
        raise ValueError(f"tensor {short(entry.name)} is boolean, but holds other bytes than 0 and 1")
    return value


def _bytes_of(value: Tensor) -> npt.NDArray[np.uint8]:
    """The memory of a contiguous tensor."""
    # An empty tensor that came from numpy has a stride of 0, and no view of another type.
    return value.reshape(-1).view(torch.uint8).numpy() if value.numel() else np.empty(0, np.uint8)


def checksum(header: bytes, tensors: Mapping[str, Tensor]) -> bytes:
    """SHA-256 of the header, then of name, type, shape and bytes of each tensor, by name."""
    digest = hashlib.sha256(header)
    for name, value in sorted(tensors.items()):
        digest.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
        digest.update(_bytes_of(value).data)
    return digest.digest()


def to_json(value: Any) -> str:
    """Short. Raises ValueError for what JSON can't hold, NaN included."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def from_json(text: str) -> dict[str, Any]:
    """A JSON object. Raises ValueError for anything else, for a name given twice, and for numbers JSON has not."""
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_no_number, parse_float=_finite)
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("its header is no JSON object")
    level: list[Any] = [value]
    for _ in range(_MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
    if level:
        raise ValueError("its header is nested too deeply")
    return value


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("its header gives a name twice")
    return value


def _no_number(token: str) -> float:
    raise ValueError(f"its header holds {token}, which is no JSON")


def _finite(token: str) -> float:
    value = float(token)
    if math.isinf(value):
        raise ValueError(f"its header holds {short(token)}, which no float64 can hold")
    return value
