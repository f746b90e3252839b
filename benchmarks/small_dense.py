"""A trained dense network as a small file: weights that are zero as a coded mask, the others rounded or not.

The container is that of tickets (header, checksums and all), so that sizes can be compared to the byte. Masks go
through the coder of tickets. Rounded weights are symmetric integers with a float16 scale for each output row. Values
are packed as they are, or entropy-coded by LZMA's range coder, whichever is smaller; `read` gives back what was
written.
"""

from __future__ import annotations

import lzma
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ugts_dist.supermask import coding
from ugts_dist.tensor_file import read_tensor_file, tensor_file_bytes

Values = Literal["float32", "float16", "int8", "int4"]
VALUES: tuple[Values, ...] = get_args(Values)
_BITS = {"int8": 8, "int4": 4}
_KIND = "compressed"


class Written(NamedTuple):
    """Bytes of the file, and of the same file without entropy coding of the values."""

    size: int
    packed: int


def write(path: Path, state: Mapping[str, Tensor], values: Values, header: Mapping[str, Any]) -> Written:
    """Write the weights, which are tensors of two axes and more; all other tensors are kept as they are."""
    weights = {name: value for name, value in state.items() if value.dim() >= 2}
    masks = [value.numpy() != 0 for value in weights.values()]
    rows, scales = _rounded(weights, values)
    kept = np.concatenate([row[mask.reshape(-1)] for row, mask in zip(rows, masks, strict=True)])
    tensors = {name: value for name, value in state.items() if name not in weights}
    tensors |= {"masks": _tensor(coding.encode(masks)), "scales": scales}
    counts = [int(mask.sum()) for mask in masks]
    files = {}
    for coded, data in ((False, _packed(kept, values)), (True, _compressed(kept))):
        told = {**header, "values": values, "coded": coded, "counts": counts}
        files[coded] = tensor_file_bytes({**tensors, "values": _tensor(data)}, told, _KIND)
    smaller = min(files.values(), key=len)
    path.write_bytes(smaller)
    return Written(len(smaller), len(files[False]))


def read(path: Path, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """The tensors of a network whose tensors have these names and shapes."""
    header, tensors = read_tensor_file(path, _KIND, "a compressed dense network")
    names = [name for name, shape in shapes.items() if len(shape) >= 2]
    masks = coding.decode(_bytes(tensors["masks"]), [shapes[name].numel() for name in names], header["counts"])
    unpack = _decompressed if header["coded"] else _unpacked
    kept = unpack(_bytes(tensors["values"]), header["values"], sum(header["counts"]))
    state, scales = {name: tensors[name] for name in shapes if name in tensors}, tensors["scales"]
    for name, mask, part in zip(names, masks, np.split(kept, np.cumsum(header["counts"])[:-1]), strict=True):
        flat = np.zeros(mask.size, np.float32)
        flat[mask] = part
        rows = torch.from_numpy(flat).reshape(shapes[name]).flatten(0, -2)
        if header["values"] in _BITS:
            rows, scales = rows * scales[: len(rows), None].float(), scales[len(rows) :]
        state[name] = rows.reshape(shapes[name])
    return state


def _rounded(weights: Mapping[str, Tensor], values: Values) -> tuple[list[npt.NDArray[Any]], Tensor]:
    """Each weight tensor, flat, as what is kept of its numbers; and the scales of the rows of all of them."""
    if values not in _BITS:
        return [value.numpy().reshape(-1).astype(values) for value in weights.values()], torch.empty(0)
    top = 2 ** (_BITS[values] - 1) - 1
    levels, scales = [], []
    for value in weights.values():
        rows = value.flatten(0, -2)
        scale = (rows.abs().amax(1) / top).half()
        divisor = torch.where(scale > 0, scale.float(), torch.inf)
        levels.append((rows / divisor[:, None]).round().clamp(-top, top).to(torch.int8).numpy().reshape(-1))
        scales.append(scale)
    return levels, torch.cat(scales)


def _packed(kept: npt.NDArray[Any], values: Values) -> bytes:
    if values != "int4":
        return kept.tobytes()
    nibbles = np.append(kept, np.zeros(len(kept) % 2, np.int8)).view(np.uint8) & 15
    return (nibbles[::2] << 4 | nibbles[1::2]).tobytes()


def _unpacked(data: bytes, values: Values, number: int) -> npt.NDArray[Any]:
    if values != "int4":
        return np.frombuffer(data, values)
    pairs = np.frombuffer(data, np.uint8)
    nibbles = np.stack([pairs >> 4, pairs & 15], axis=1).reshape(-1)[:number].astype(np.int8)
    return np.where(nibbles > 7, nibbles - 16, nibbles)


def _compressed(kept: npt.NDArray[Any]) -> bytes:
    return lzma.compress(kept.tobytes(), lzma.FORMAT_RAW, filters=_filters(kept.itemsize))


def _decompressed(data: bytes, values: Values, number: int) -> npt.NDArray[Any]:
    dtype = np.dtype("int8" if values == "int4" else values)
    return np.frombuffer(lzma.decompress(data, lzma.FORMAT_RAW, filters=_filters(dtype.itemsize)), dtype)


def _filters(itemsize: int) -> list[dict[str, int]]:
    """Each byte of a number has a model of its own, which knows nothing of the bytes before it."""
    place = itemsize.bit_length() - 1
    return [{"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 0, "lp": place, "pb": place}]


def _tensor(data: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(data, np.uint8).copy())


def _bytes(tensor: Tensor) -> bytes:
    return tensor.numpy().tobytes()
