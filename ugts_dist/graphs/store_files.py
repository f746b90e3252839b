"""The files of a graph store: meta.json, and how the files are checked against it."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.lib import format as npy

from ugts_dist.errors import InputError
from ugts_dist.graphs.files import reading

FORMAT = "ugts_dist graph store"
VERSION = 1
LATER_VERSION = 2  # of stores that older versions must not read: with an optional array, or with labels of two axes
SHARE_VERSION = 3  # of stores with a share of the features
META = "meta.json"
LOCK = ".lock"
PREDICTION_ONLY = "prediction_only"  # a key of meta.json

# Number of axes and dtypes of every array. bfloat16, which numpy lacks, is stored as uint16.
LAYOUT: dict[str, tuple[int, tuple[str, ...]]] = {
    "indptr": (1, ("int64",)),
    "indices": (1, ("int32", "int64")),
    "x": (2, ("float32", "bfloat16")),
    "y": (1, ("int64",)),  # or `NUMBERS`
    "train": (1, ("int64",)),
    "valid": (1, ("int64",)),
    "test": (1, ("int64",)),
}
OPTIONAL: dict[str, tuple[int, tuple[str, ...]]] = {
    "edge_weight": (1, ("float32",)),
    "edge_attr": (2, ("float32",)),
}
ARRAYS = LAYOUT | OPTIONAL
NUMBERS = (2, ("float32",))  # of y, for several labels or targets at once

# Extra arrays belong to nodes or classes and not to the graph, such as the node ids of the user's files.
EXTRA_DTYPES = ("uint8", "int32", "int64", "float32", "float64")
_EXTRA_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_EXTRA_AXES = (1, 2)
_BLOCK = 1 << 22  # bytes that are read at once

ArrayMeta = tuple[str, tuple[int, ...], str]
"""The dtype, the shape and the SHA-256 of an array's file."""


class ShareMeta(NamedTuple):
    """The number of a share of the features, from 0 on; how many there are; and the SHA-256 of its rows."""

    part: int
    parts: int
    sha256: str


@dataclass(frozen=True)
class Meta:
    """The contents of meta.json.

    ``class_names``, ``extra_arrays`` and ``checksum`` are optional in the file; older stores have none of them. The
    file of a store without a split has ``"prediction_only": true``. That of a store with a share of the features
    describes the array ``x`` of the whole store.
    """

    name: str
    num_classes: int  # 0: no node has a label
    arrays: dict[str, ArrayMeta]
    origin: dict[str, str | int | float | bool]
    class_names: tuple[str, ...] = ()  # one per class, or none
    extra_arrays: dict[str, ArrayMeta] = field(default_factory=dict)
    checksum: str = ""  # SHA-256 of the other values of meta.json, as ``meta_sha256`` computes it
    share: ShareMeta | None = None  # None: the store is whole


def read_meta(folder: Path) -> Meta:
    """Read and check meta.json. Raises InputError, in one line, for contents that ``StoreWriter`` never writes."""
    path = folder / META
    if not path.is_file():
        raise InputError(f"{folder}: is no graph store ({META} is missing)")
    with reading(path):
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise InputError(f"{path}: is not the description of a graph store (format is not {FORMAT!r})")
        if content.get("version") not in (VERSION, LATER_VERSION, SHARE_VERSION):
            raise InputError(
                f"{path}: version is {str(content.get('version'))[:20]}, allowed are {VERSION} to "
                f"{SHARE_VERSION}; prepare the graph again"
            )
        if "sha256" in content and content["sha256"] != meta_sha256(content):
            raise InputError(f"{path}: changed since written (SHA-256 differs); prepare the graph again")
        name, num_classes, arrays, origin = (content[key] for key in ("name", "num_classes", "arrays", "origin"))
        if type(name) is not str or type(num_classes) is not int or not 0 <= num_classes < 2**63:
            raise ValueError(f"name {name!r:.40} or num_classes {num_classes!r:.40} is wrong")
        if type(origin) is not dict or not all(type(value) in (str, int, float, bool) for value in origin.values()):
            raise ValueError("origin is not a flat object")
        if not LAYOUT.keys() <= arrays.keys() <= ARRAYS.keys():
            raise ValueError(f"arrays are not {', '.join(LAYOUT)}, and {' or '.join(OPTIONAL)} or both")
        described = {array: _array_meta(array, values) for array, values in arrays.items()}
        num_nodes, num_features = described["x"][1]
        if num_nodes < 1 or num_features < 1:
            raise ValueError(f"x has shape {(num_nodes, num_features)}, allowed is one node and one feature at least")
        counts = {"num_nodes": num_nodes, "num_edges": described["indices"][1][0], "num_features": num_features}
        for key, count in counts.items():
            if content[key] != count:
                raise ValueError(f"{key} is {content[key]!r:.40}, the arrays have {count}")
        if described["indptr"][1] != (num_nodes + 1,) or described["y"][1][0] != num_nodes:
            raise ValueError("x, indptr and y do not have the same number of nodes")
        if described["y"][1][1:] not in ((), (num_classes,)):
            raise ValueError(f"y has shape {described['y'][1]}, num_classes is {num_classes}")
        if content.get(PREDICTION_ONLY, False) is not (described["train"][1] == (0,)):
            raise ValueError(f"{PREDICTION_ONLY} does not fit the number of training nodes")
        if any(described[array][1][0] != counts["num_edges"] for array in OPTIONAL.keys() & described.keys()):
            raise ValueError(f"{' or '.join(OPTIONAL)} does not have a row for each edge")
        class_names = content.get("class_names", [])
        if type(class_names) is not list or not all(type(label) is str for label in class_names):
            raise ValueError("class_names is not a list of names")
        if len(class_names) not in (0, num_classes):
            raise ValueError(f"class_names has {len(class_names)} names, num_classes is {num_classes}")
        extra = {array: _extra_meta(array, values) for array, values in content.get("extra_arrays", {}).items()}
        share = _share(content, num_nodes) if content["version"] == SHARE_VERSION else None
    return Meta(name, num_classes, described, origin, tuple(class_names), extra, content.get("sha256", ""), share)


def _share(content: Mapping[str, Any], num_nodes: int) -> ShareMeta:
    part, parts, digest = (content["share"][key] for key in ("part", "parts", "sha256"))
    if not (type(part) is type(parts) is int and 0 <= part < parts <= num_nodes and type(digest) is str):
        raise ValueError(f"share {part!r:.40} of {parts!r:.40} is none")
    return ShareMeta(part, parts, digest)


def meta_sha256(content: Mapping[str, Any]) -> str:
    """The checksum of the values of meta.json except this one, independent of their order and of white space."""
    values = {key: value for key, value in content.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def is_extra(array: str, dtype: str) -> bool:
    """Whether a store may have such an extra array."""
    return array not in ARRAYS and _EXTRA_NAME.fullmatch(array) is not None and dtype in EXTRA_DTYPES


def _extra_meta(array: str, values: Any) -> ArrayMeta:
    if not is_extra(array, values["dtype"]):
        raise ValueError(f"extra array {array!r:.40} of {values['dtype']!r:.40} is not known")
    return _described(array, values, _EXTRA_AXES, EXTRA_DTYPES)


def _array_meta(array: str, values: Any) -> ArrayMeta:
    axes, dtypes = NUMBERS if array == "y" and values["dtype"] in NUMBERS[1] else ARRAYS[array]
    return _described(array, values, (axes,), dtypes)


def _described(array: str, values: Any, axes: tuple[int, ...], dtypes: tuple[str, ...]) -> ArrayMeta:
    dtype, shape, digest = values["dtype"], values["shape"], values["sha256"]
    if dtype not in dtypes:
        raise ValueError(f"{array} is of {dtype!r:.40}, allowed is {' or '.join(dtypes)}")
    if type(shape) is not list or len(shape) not in axes or not all(type(n) is int and 0 <= n < 2**63 for n in shape):
        raise ValueError(f"{array} has shape {shape!r:.80}, allowed are {' or '.join(map(str, axes))} lengths")
    if type(digest) is not str:
        raise ValueError(f"{array} has no SHA-256")
    return dtype, tuple(shape), digest


def check_file(path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    """Raise InputError for an array file that is missing, truncated or different from meta.json."""
    if not path.is_file():
        raise InputError(f"{path}: is missing; prepare the graph again")
    with reading(path):
        found = read_header(path)
        wanted = (shape, False, np.dtype(stored(dtype)))
        if found[:3] != wanted:
            raise InputError(f"{path}: is {found[0]} of {found[2]}, {META} says {shape} of {wanted[2]}")
        size = found[3] + math.prod(shape) * wanted[2].itemsize
        if path.stat().st_size != size:
            raise InputError(f"{path}: has {path.stat().st_size} bytes instead of {size}; prepare the graph again")


def stored(dtype: str) -> str:
    """The name of numpy's dtype in the file."""
    return "uint16" if dtype == "bfloat16" else dtype


def write_header(file: BinaryIO, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Write the header of an .npy file; its length does not depend on the length of the array."""
    npy.write_array_header_1_0(file, {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})


def read_header(path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, whether in Fortran order, dtype and length of the header of an .npy file."""
    with path.open("rb") as file:
        if npy.read_magic(file) != (1, 0):
            raise ValueError("not version 1.0 of the .npy format")
        shape, fortran_order, dtype = npy.read_array_header_1_0(file)
        return shape, fortran_order, dtype, file.tell()


def row_span(path: Path, start: int, stop: int) -> tuple[int, int, int]:
    """The first byte of some rows in an .npy file, the one after the last, and the length of its header."""
    shape, _, dtype, header = read_header(path)
    row = math.prod(shape[1:]) * dtype.itemsize
    return header + start * row, header + stop * row, header


def sha256(path: Path) -> str:
    """The checksum of a whole file, including its header, as ``sha256sum`` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_bytes(path: Path, begin: int, end: int) -> str:
    """The checksum of a part of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(begin)
        while begin < end and (block := file.read(min(_BLOCK, end - begin))):
            digest.update(block)
            begin += len(block)
    return digest.hexdigest()
