"""The file of a ticket: a header, the coded masks and the unmasked tensors, in one safetensors file.

**Version 4.** The safetensors file has no metadata. Its tensor `ugts`, uint8, contains in this order
    the version, one byte;
    the checksum, the first 8 bytes of a SHA-256 over the header's JSON, then over name, type, shape and bytes of the
        tensors `masks` and `unmasked/NAME`, as in `ugts_dist.tensor_file`;
    the header as JSON without `format_version`, in raw DEFLATE (RFC 1951) with the preset dictionary of
        `ugts_dist.supermask.ticket_dictionary`;
    the bytes of `masks`, to the end.
Its other tensors are `unmasked/NAME`.

**Versions 2 and 3** are read but no longer written. The header, with its version and checksum, is the metadata entry
`ugts`, as `ugts_dist.tensor_file` writes it; `masks` is a separate tensor.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from ugts_dist.atomic import write_file
from ugts_dist.supermask.ticket_dictionary import DICTIONARY
from ugts_dist.tensor_file import checksum, from_json, on_cpu, read_safetensors, to_json, unsealed

VERSION = 4
OLD_VERSIONS = (2, 3)
MASKS = "masks"
_KIND = "ugts"
_CHECKSUM_BYTES = 8
_MAX_BYTES = 2**31
_MAX_HEADER = 2**24  # bytes of JSON
_RAW = -15  # zlib's name for DEFLATE without a frame, and a window of 2^15 bytes


def write_ticket_file(path: Path, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> int:
    """Write `ticket_file_bytes` to a temporary file, flush it and rename it. Returns the size in bytes."""
    data = ticket_file_bytes(header, tensors)
    write_file(path, data)
    return len(data)


def ticket_file_bytes(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bytes:
    """The file as bytes.

    Args:
        header: JSON values; `format_version` is a number of one byte.
        tensors: `masks`, uint8 `[num_bytes]`, and `unmasked/NAME` of any shape, on any device.

    Raises: ValueError for a header that `read_ticket_file` would refuse; TypeError for an unsupported dtype.
    """
    fields = {name: value for name, value in header.items() if name != "format_version"}
    text = to_json(fields).encode()
    _header_of(text)
    held = on_cpu(tensors)
    packed = bytes([header["format_version"]]) + checksum(text, held)[:_CHECKSUM_BYTES] + _deflated(text)
    data = torch.cat([byte_tensor(packed), held.pop(MASKS)])
    return safetensors.torch.save({_KIND: data, **held})


def read_ticket_file(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read header, with `format_version`, and tensors of a ticket file. For an unknown version, only that is read.

    Raises: InputError, in one line that begins with the path, for anything but an intact ticket file.
    """
    return read_safetensors(path, "a ticket (.ticket)", _MAX_BYTES, _understood)


def _understood(metadata: Any, tensors: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if metadata is None:
        return _unpacked(tensors)
    header, tensors = unsealed(metadata, tensors, _KIND)
    if header.get("format_version") == VERSION:
        raise ValueError(f"version {VERSION} with metadata")
    return header, tensors


def _unpacked(tensors: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    packed = tensors.pop(_KIND, None)
    if packed is None or packed.dtype != torch.uint8 or packed.dim() != 1 or MASKS in tensors:
        raise ValueError(f"a safetensors file, but without one tensor {_KIND!r} of bytes")
    data = packed.numpy().tobytes()
    version = data[0] if data else None
    if version in OLD_VERSIONS:
        raise ValueError(f"version {version} without metadata")
    if version != VERSION:
        return {"format_version": version}, {}
    digest, rest = data[1 : 1 + _CHECKSUM_BYTES], data[1 + _CHECKSUM_BYTES :]
    text, masks = _inflated(rest)
    held = {MASKS: byte_tensor(masks), **tensors}
    if digest != checksum(text, held)[:_CHECKSUM_BYTES]:
        raise ValueError("its checksum is wrong")
    return {"format_version": VERSION, **_header_of(text)}, held


def _header_of(text: bytes) -> dict[str, Any]:
    """Parse the header. Raises ValueError if it is too large, nested too deeply, or has unknown keys."""
    if len(text) > _MAX_HEADER:
        raise ValueError(f"its header has {len(text)} bytes, allowed are {_MAX_HEADER}")
    header = from_json(text.decode())
    if "format_version" in header:
        raise ValueError("its header has a second version")
    return header


def _deflated(text: bytes) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, _RAW, 9, zdict=DICTIONARY)
    return compressor.compress(text) + compressor.flush()


def _inflated(data: bytes) -> tuple[bytes, bytes]:
    """The decompressed text, and the bytes after it."""
    inflater = zlib.decompressobj(_RAW, zdict=DICTIONARY)
    try:
        text = inflater.decompress(data, _MAX_HEADER + 1)
    except zlib.error as error:
        raise ValueError(f"its header can't be decompressed: {error}") from None
    if not inflater.eof:
        raise ValueError("its header does not end, or is too large")
    return text, inflater.unused_data


def byte_tensor(data: bytes) -> Tensor:
    """Bytes as a tensor, uint8 `[len(data)]`."""
    # torch.frombuffer refuses an empty buffer.
    return torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)
