"""Your own graph as a PyG ``Data`` saved by torch: read without running any code of the file."""

from __future__ import annotations

import mmap
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from torch_geometric.data import Data
from torch_geometric.data.data import DataEdgeAttr, DataTensorAttr
from torch_geometric.data.storage import AttrType, GlobalStorage

from ugts_dist.errors import InputError
from ugts_dist.graphs.files import reading
from ugts_dist.graphs.pyg_fields import EDGE_FIELDS, MASKS, Fields, read_fields
from ugts_dist.graphs.raw import RawGraph

_HEADER_BYTES = 1 << 16  # more than what precedes the bytes of a file in an archive


def _plain_dict(factory: object) -> dict[Any, Any]:
    return {}


# PyG stores what it knows about the fields in a defaultdict, which newer versions of torch refuse to load. A plain dict
# replaces it: the class gets a name of the same length in the pickle, which is registered with torch.
_DEFAULT_DICT, _PLAIN_DICT = "collections.defaultdict", "collections.plain__dict"

# The classes of a pickled Data. Creating them runs no code of the file.
_CLASSES: list[Any] = [
    *(Data, DataEdgeAttr, DataTensorAttr, GlobalStorage, AttrType),
    (_plain_dict, _PLAIN_DICT),
]

# Other objects that people save, by the name of a class in their file.
_OTHERS = {
    r"torch_geometric\.data\.(hetero_data|storage)\.": "a HeteroData; allowed: a Data with one kind of nodes and "
    "edges, as HeteroData.to_homogeneous() makes it",
    r"torch_geometric\.data\.batch\.": "a Batch of several graphs; allowed: the Data of one graph",
    r"torch_sparse\.": "a SparseTensor of torch_sparse; allowed: a Data with edge_index, which is "
    "torch.stack(data.adj_t.coo()[1::-1])",
}


def from_data(
    name: str,
    path: Path,
    split: int,
    undirected: bool,
    num_classes: int | None,
    tell: Callable[[str], None],
    mask_fields: Mapping[str, str] = MASKS,
    edge_fields: Collection[str] = EDGE_FIELDS,
    numbers: bool = False,
) -> RawGraph:
    """Read a PyG ``Data`` from a file of ``torch.save``, memory-mapped and with ``weights_only``: it runs no code.

    The parameters are those of ``read_fields``. Raises InputError, also for a file that is missing or holds anything
    else.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    fields = Fields(f"{path} ", _fields(path))
    return read_fields(name, fields, split, tell, undirected, num_classes, mask_fields, edge_fields, numbers)


def _fields(path: Path) -> Mapping[str, Any]:
    """The fields of the Data, by name. PyG 1 kept them as plain attributes."""
    with reading(path):
        data = _load(path)
        if not isinstance(data, Data):
            raise InputError(f"{path}: holds a {type(data).__name__}; allowed: a torch_geometric.data.Data")
        state = vars(data)
        fields = vars(state["_store"])["_mapping"] if "_store" in state else state
        if not isinstance(fields, dict):
            raise TypeError("a Data without fields")
        return fields


def _load(path: Path) -> Any:
    # Its end removes every class from torch's list, including those that were on it before.
    more = [kind for kind in _CLASSES if kind not in torch.serialization.get_safe_globals()]
    with torch.serialization.safe_globals(more), warnings.catch_warnings():
        # Newer versions of torch warn that they check sparse tensors, as they should.
        warnings.filterwarnings("ignore", "Validating sparse tensor invariants", UserWarning)
        try:
            return _weights_only(path)
        except pickle.UnpicklingError as error:
            wrong = re.search(r"GLOBAL ([\w.]+)", str(error))
            if wrong is None:
                raise
            other = next((found for known, found in _OTHERS.items() if re.match(known, wrong[1])), None)
            found = other or f"{wrong[1]}; allowed: a Data of tensors, saved by torch.save"
            raise InputError(f"{path}: holds {found}") from None


def _weights_only(path: Path) -> Any:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as content:
        # Changed pages are copies: the file stays as it is.
        if _rename_default_dict(file, content):
            return torch.load(cast(BinaryIO, content), map_location="cpu", weights_only=True)
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def _rename_default_dict(file: BinaryIO, content: mmap.mmap) -> bool:
    """Rename the class in the pickle of a torch archive. Returns whether it occurs there."""
    with zipfile.ZipFile(file) as archive:
        info = next((info for info in archive.infolist() if info.filename.endswith("/data.pkl")), None)
    if info is None:
        raise ValueError("an archive without data.pkl")
    old, new = (b"c%b\n%b\n" % tuple(name.encode().split(b".")) for name in (_DEFAULT_DICT, _PLAIN_DICT))
    place = content.find(old, info.header_offset, info.header_offset + info.compress_size + _HEADER_BYTES)
    if place >= 0:
        content[place : place + len(old)] = new
    return place >= 0
