"""A trained dense network as a small file: weights that are zero as a coded mask, the others rounded or not.

The container is that of tickets (header, checksums and all), so that sizes can be compared to the byte. Masks go
through the coder of tickets. Rounded weights are symmetric integers with a float16 scale for each output row. Values
are packed, or entropy-coded, whichever is smaller; `read` gives back what was written.
"""

from __future__ import annotations

import lzma
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ugts_dist.supermask import coding
from ugts_dist.tensor_file import read_tensor_file, tensor_file_bytes

Array = npt.NDArray[Any]
Coded = tuple[bytes, dict[str, Any]]  # and what a reader has to be told of it
Values = Literal["float32", "float16", "int8", "int4"]
VALUES: tuple[Values, ...] = get_args(Values)
_TOP = {"int8": 127, "int4": 7}  # the largest of integers that are symmetric
_KIND = "compressed"


class Written(NamedTuple):
    """Bytes of the file, and of the same file without entropy coding of the values."""

    size: int
    packed: int


def write(path: Path, state: Mapping[str, Tensor], values: Values, header: Mapping[str, Any]) -> Written:
    """Write the weights, which are tensors of two axes and more; all other tensors are kept as they are."""
    weights = {name: value for name, value in state.items() if value.dim() >= 2}
    others = {name: value for name, value in state.items() if name not in weights}
    rows, scales = _rounded(weights, values)
    pruned = _without([value.numpy().reshape(-1) != 0 for value in weights.values()], rows, values, _packed)
    zeros = _without([row != 0 for row in rows], rows, values, _coded)
    files = [
        tensor_file_bytes({**others, **tensors, "scales": scales}, {**header, "values": values, **told}, _KIND)
        for tensors, told in (pruned, zeros)
    ]
    smaller = min(files, key=len)
    path.write_bytes(smaller)
    return Written(len(smaller), len(files[0]))


def read(path: Path, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """The tensors of a network whose tensors have these names and shapes."""
    header, tensors = read_tensor_file(path, _KIND, "a compressed dense network")
    names, counts = [name for name, shape in shapes.items() if len(shape) >= 2], header["counts"]
    masks = coding.decode(_bytes(tensors["masks"]), [shapes[name].numel() for name in names], counts)
    kept = _values(_bytes(tensors["values"]), header)
    state, scales = {name: tensors[name] for name in shapes if name in tensors}, tensors["scales"]
    for name, mask, part in zip(names, masks, np.split(kept, np.cumsum(counts)[:-1]), strict=True):
        flat = np.zeros(mask.size, np.float32)
        flat[mask] = part
        rows = torch.from_numpy(flat).reshape(shapes[name]).flatten(0, -2)
        if header["values"] in _TOP:
            rows, scales = rows * scales[: len(rows), None].float(), scales[len(rows) :]
        state[name] = rows.reshape(shapes[name])
    return state


def _without(
    masks: Sequence[Array], rows: Sequence[Array], values: Values, code: Callable[[Array, Values], Coded]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and header of a file that has only the numbers where the masks are true."""
    kept = np.concatenate([row[mask] for row, mask in zip(rows, masks, strict=True)])
    data, told = code(kept, values)
    tensors = {"masks": _tensor(coding.encode(masks)), "values": _tensor(data)}
    return tensors, {"counts": [int(mask.sum()) for mask in masks], **told}


def _rounded(weights: Mapping[str, Tensor], values: Values) -> tuple[list[Array], Tensor]:
    """Each weight tensor, flat, as what is kept of its numbers; and the scales of the rows of all of them."""
    if values not in _TOP:
        return [value.numpy().reshape(-1).astype(values) for value in weights.values()], torch.empty(0)
    top = _TOP[values]
    levels, scales = [], []
    for value in weights.values():
        rows = value.flatten(0, -2)
        scale = (rows.abs().amax(1) / top).half()
        divisor = torch.where(scale > 0, scale.float(), torch.inf)
        levels.append((rows / divisor[:, None]).round().clamp(-top, top).to(torch.int8).numpy().reshape(-1))
        scales.append(scale)
    return levels, torch.cat(scales)


def _packed(kept: Array, values: Values) -> Coded:
    """The numbers one after the other."""
    if values != "int4":
        return kept.tobytes(), {"code": "packed"}
    nibbles = np.append(kept, np.zeros(len(kept) % 2, np.int8)).view(np.uint8) & 15
    return (nibbles[::2] << 4 | nibbles[1::2]).tobytes(), {"code": "packed"}


def _coded(kept: Array, values: Values) -> Coded:
    """Entropy-coded: integers of 4 bits, none of them zero, by the coder of masks, all others by LZMA's range coder.

    The signs of the former are bits; one mask after the other tells which of the magnitudes above t are above t + 1.
    """
    if values != "int4":
        data = lzma.compress(kept.tobytes(), lzma.FORMAT_RAW, filters=_filters(kept.itemsize))
        return data, {"code": "lzma"}
    magnitudes = np.abs(kept)
    steps = [magnitudes[magnitudes >= least] > least for least in range(1, _TOP["int4"])]
    signs = np.packbits(kept < 0).tobytes()
    return signs + coding.encode(steps), {"code": "steps", "steps": [int(step.sum()) for step in steps]}


def _values(data: bytes, header: Mapping[str, Any]) -> Array:
    """The numbers that were packed or coded."""
    number, dtype = sum(header["counts"]), np.dtype("int8" if header["values"] == "int4" else header["values"])
    if header["code"] == "steps":
        return _stepped(data, number, header["steps"])
    if header["code"] == "lzma":
        return np.frombuffer(lzma.decompress(data, lzma.FORMAT_RAW, filters=_filters(dtype.itemsize)), dtype)
    if header["values"] != "int4":
        return np.frombuffer(data, dtype)
    pairs = np.frombuffer(data, np.uint8)
    nibbles = np.stack([pairs >> 4, pairs & 15], axis=1).reshape(-1)[:number].astype(np.int8)
    return np.where(nibbles > 7, nibbles - 16, nibbles)


def _stepped(data: bytes, number: int, counts: Sequence[int]) -> Array:
    end = -(-number // 8)
    negative = np.unpackbits(np.frombuffer(data[:end], np.uint8))[:number]
    magnitudes, reached = np.ones(number, np.int8), np.arange(number)
    for step in coding.decode(data[end:], [number, *counts[:-1]], counts):
        reached = reached[step]
        magnitudes[reached] += 1
    return np.where(negative, -magnitudes, magnitudes)


def _filters(itemsize: int) -> list[dict[str, int]]:
    """Each byte of a number has a model of its own, which knows nothing of the bytes before it."""
    place = itemsize.bit_length() - 1
    return [{"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 0, "lp": place, "pb": place}]


def _tensor(data: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(data, np.uint8).copy())


def _bytes(tensor: Tensor) -> bytes:
    return tensor.numpy().tobytes()
