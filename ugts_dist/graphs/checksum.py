"""The checksum of a dataset, by which a result says what it was found on: the same from raw files and from a store."""

from __future__ import annotations

import hashlib
import io
from dataclasses import fields

import torch
from torch import Tensor

from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.molecules import GraphSet
from ugts_dist.graphs.store_files import write_header


def checksum(data: Graph | GraphSet) -> str:
    """SHA-256 over name and SHA-256 of each array as an .npy file, in the order of their names.

    A store knows the latter; of other data they are computed, a second or so for each gigabyte.
    """
    known = data.digests if isinstance(data, Graph) else {}
    arrays = {field.name: getattr(data, field.name) for field in fields(data)}
    digest = hashlib.sha256()
    for name in sorted(name for name, value in arrays.items() if isinstance(value, Tensor)):
        digest.update(f"{name} {known.get(name) or _npy_sha256(arrays[name])}\n".encode())
    return digest.hexdigest()


def _npy_sha256(array: Tensor) -> str:
    """As `sha256sum` prints it for the array's file in a store."""
    values = (array.view(torch.uint16) if array.dtype == torch.bfloat16 else array).contiguous().numpy()
    header = io.BytesIO()
    write_header(header, values.dtype, values.shape)
    digest = hashlib.sha256(header.getvalue())
    digest.update(values.reshape(-1).view("u1").data if values.size else b"")
    return digest.hexdigest()
