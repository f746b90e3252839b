"""Named tensors and a JSON header in one safetensors file, written atomically; files need not be trusted.

Reading a file runs no code, maps no memory (a mapped file that is truncated kills the process) and allocates at most
twice the size of the file. The safetensors library checks the file's structure: its header, types, shapes, and that the
tensors fill the data without gap or overlap. This module checks the rest: the kind and size of the file, the JSON of
the metadata, and a SHA-256 over it and over name, type, shape and bytes of every tensor, which detects changes by bad
memory or a bad disk.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from reprlib import repr as short
from typing import Any, BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ugts_dist.atomic import write_file
from ugts_dist.errors import InputError
from ugts_dist.text_files import open_regular

_MAX_HEADER = 2**24  # bytes
_MAX_DEPTH = 32  # of the JSON
_MAX_MESSAGE = 200  # characters of a library's message, which may contain a name of any length
DTYPES = (
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
)
T = TypeVar("T")


def write_tensor_file(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any], kind: str) -> int:
    """Write `tensor_file_bytes` to a temporary file, flush it and rename it. Returns the size in bytes."""
    data = tensor_file_bytes(tensors, header, kind)
    write_file(path, data)
    return len(data)


def tensor_file_bytes(tensors: Mapping[str, Tensor], header: Mapping[str, Any], kind: str) -> bytes:
    """The file as bytes, the same for the same content: a safetensors file with one metadata entry.

    Args:
        tensors: of any shape, on any device.
        header: JSON values without the key `sha256`, which is added here.
        kind: the sort of file; the name of the metadata entry with the header.

    Raises: ValueError for a header that `read_tensor_file` would refuse: not JSON (including NaN), too large or nested
    too deeply; TypeError for an unsupported dtype.
    """
    if "sha256" in header:
        raise ValueError("the header has a key 'sha256', which is the checksum's")
    held = on_cpu(tensors)
    sealed = {**header, "sha256": checksum(to_json(header).encode(), held).hex()}
    # One entry only: safetensors writes several in a random order.
    data = safetensors.torch.save(held, {kind: to_json(sealed)})
    from_json(to_json(sealed))
    _header(io.BytesIO(data), len(data))
    return data


def on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU. Raises TypeError for an unsupported dtype."""
    held = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    for name, value in held.items():
        if value.dtype not in DTYPES:
            raise TypeError(f"tensor {name!r} is {value.dtype}, allowed are {', '.join(map(str, DTYPES))}")
    return held


def read_tensor_file(
    path: Path, kind: str, what: str, max_bytes: int = 2**36
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read header and tensors of a file that `write_tensor_file` wrote.

    Args:
        path: of a regular file.
        kind: as it was written.
        what: the expected file, for messages, such as "a ticket (.ticket)".
        max_bytes: the largest file to read.

    Raises: InputError, in one line that begins with the path, for anything but an intact file of this kind.
    """
    return read_safetensors(path, what, max_bytes, lambda metadata, tensors: unsealed(metadata, tensors, kind))


def read_safetensors(path: Path, what: str, max_bytes: int, understood: Callable[[Any, dict[str, Tensor]], T]) -> T:
    """Apply `understood` to a safetensors file's metadata (None if it has none) and tensors.

    Its ValueError means that the file is not `what` it should be. Otherwise as `read_tensor_file`.
    """
    try:
        with open_regular(path) as file:
            return understood(*_read(file, max_bytes))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {what} is needed") from None
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); {what} is needed") from None
    except MemoryError:
        raise InputError(f"{path}: too large for this machine's memory; {what} is needed") from None
    except ValueError as error:
        raise InputError(f"{path}: not {what}, or damaged ({' '.join(str(error).split())})") from None


def unsealed(metadata: Any, tensors: dict[str, Tensor], kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a file with such metadata. Raises ValueError for another kind or a wrong checksum."""
    header = _own_header(metadata, kind)
    if header.pop("sha256", None) != checksum(to_json(header).encode(), tensors).hex():
        raise ValueError("its checksum is wrong")
    return header, tensors


def _read(file: BinaryIO, max_bytes: int) -> tuple[Any, dict[str, Tensor]]:
    size = os.fstat(file.fileno()).st_size
    if not 8 <= size <= max_bytes:
        raise ValueError(f"it has {size} bytes, allowed are 8 to {max_bytes}")
    described = from_json(_header(file, size).decode())  # before memory is taken for the rest
    file.seek(0)
    data = file.read(size)  # if it has become shorter, its header and its data do not fit
    metadata = described.pop("__metadata__", None)
    try:
        tensors = safetensors.torch.load(data)
    except KeyError as error:
        raise ValueError(f"a tensor has dtype {error}, which torch lacks") from None
    # Of the library, and of torch for shapes that no tensor can have.
    except (safetensors.SafetensorError, RuntimeError, TypeError, OverflowError) as error:
        raise ValueError(str(error)[:_MAX_MESSAGE]) from None
    for name, value in tensors.items():
        _check(name, value)
    return metadata, {name: tensors[name] for name in described}  # the library returns a random order


def _header(file: BinaryIO, size: int) -> bytes:
    """The header at the beginning of a file of so many bytes."""
    length, most = int.from_bytes(file.read(8), "little"), min(size - 8, _MAX_HEADER)
    if length > most:
        raise ValueError(f"its header has {length} bytes, allowed are {most}")
    return file.read(length)


def _check(name: str, value: Tensor) -> None:
    """Raise ValueError for a tensor that `write_tensor_file` does not write."""
    if value.dtype not in DTYPES:
        raise ValueError(f"tensor {short(name)} is {value.dtype}, allowed are {', '.join(map(str, DTYPES))}")
    if value.dtype == torch.bool and value.numel() and _bytes_of(value).max() > 1:
        raise ValueError(f"tensor {short(name)} is boolean, but holds other bytes than 0 and 1")


def _own_header(metadata: Any, kind: str) -> dict[str, Any]:
    if not isinstance(metadata, dict) or metadata.keys() != {kind} or not isinstance(metadata[kind], str):
        raise ValueError(f"a safetensors file, but without the metadata {kind!r} alone")
    return from_json(metadata[kind])


def _bytes_of(value: Tensor) -> npt.NDArray[np.uint8]:
    """The memory of a contiguous tensor."""
    # An empty tensor from numpy has a stride of 0, and no view of another type.
    return value.reshape(-1).view(torch.uint8).numpy() if value.numel() else np.empty(0, np.uint8)


def checksum(header: bytes, tensors: Mapping[str, Tensor]) -> bytes:
    """SHA-256 of the header, then of name, type, shape and bytes of each tensor, by name."""
    digest = hashlib.sha256(header)
    for name, value in sorted(tensors.items()):
        digest.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
        digest.update(_bytes_of(value).data)
    return digest.digest()


def to_json(value: Any) -> str:
    """Compact JSON. Raises ValueError for values that JSON lacks, including NaN."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def from_json(text: str) -> dict[str, Any]:
    """A JSON object. Raises ValueError for anything else, for repeated names, and for numbers that JSON lacks."""
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_no_number, parse_float=_finite)
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("its header is not a JSON object")
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
    raise ValueError(f"its header holds {token}, which is not JSON")


def _finite(token: str) -> float:
    value = float(token)
    if math.isinf(value):
        raise ValueError(f"its header holds {short(token)}, which no float64 can hold")
    return value
