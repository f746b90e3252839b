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

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.data.data import DataEdgeAttr, DataTensorAttr
from torch_geometric.data.storage import AttrType, GlobalStorage

from ugts_dist.errors import InputError
from ugts_dist.graphs.edge_tables import EdgeTables
from ugts_dist.graphs.files import reading
from ugts_dist.graphs.label_numbers import Numbers, notes, read_numbers
from ugts_dist.graphs.raw import RawGraph
from ugts_dist.graphs.row_files import tensor_table
from ugts_dist.graphs.tables import Table, array_table

MASKS = {"train": "train_mask", "valid": "val_mask", "test": "test_mask"}
EDGE_FIELDS = ("edge_weight", "edge_attr")
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

    It has x, edge_index (or adj_t), and y, train_mask, val_mask and test_mask, unless the graph is for prediction only:
    then it has no masks, and maybe no y. ``split`` chooses a column of masks with several; a mask with one axis is the
    same for every split. ``mask_fields`` has the field of each split; it is empty if the split is drawn.
    ``edge_fields`` are those to read if the Data has them: edge_weight (or values of adj_t that are not all 1) and
    edge_attr. A y of floats, or of several columns, has numbers, NaN if unknown; ``numbers``: whole ones in one column,
    too, which are classes otherwise. ``tell`` is called with a line about unused fields. Raises InputError for anything
    else.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    fields = _fields(path)
    edge_index, source = _edge_index(path, fields)
    if unused := [field for field in set(MASKS.values()) - set(mask_fields.values()) if fields.get(field) is not None]:
        tell(f"{path}: {', '.join(sorted(unused))} not used: the split is drawn")
    has_masks = any(fields.get(field) is not None for field in mask_fields.values())
    masks = {array: _mask(path, fields, field) for array, field in mask_fields.items() if has_masks}
    num_splits = max([mask.size(1) for mask in masks.values() if mask.dim() == 2], default=1)
    splits = {array: _of_split(f"{path} {MASKS[array]}", mask, split, num_splits) for array, mask in masks.items()}
    features = tensor_table(f"{path} x", _tensor(path, fields, "x"), "numbers")
    labels = _labels(path, fields, features, has_masks or not mask_fields, numbers)
    if isinstance(labels, Numbers):
        for note in notes(labels, numbers):
            tell(note)
    return RawGraph(
        name=name,
        source="PyG Data",
        edges=tensor_table(f"{path} {source}", edge_index.t(), "integers"),
        features=features,
        labels=labels,
        splits={array: tensor_table(f"{path} {MASKS[array]}", mask, "ids") for array, mask in splits.items()},
        undirected=undirected,
        num_classes=num_classes,
        edge_data=_edge_data(path, fields, source, edge_fields),
    )


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


def _edge_index(path: Path, fields: Mapping[str, Any]) -> tuple[Tensor, str]:
    """Sources above destinations, [2, num_edges], and the name of their field."""
    adjacency = fields.get("adj_t")
    if fields.get("edge_index") is not None or adjacency is None:
        edge_index = _tensor(path, fields, "edge_index")
        if edge_index.dim() != 2 or edge_index.size(0) != 2:
            raise InputError(f"{path} edge_index: has shape {tuple(edge_index.shape)}; allowed: (2, number of edges)")
        return edge_index, "edge_index"
    # A row of the transposed adjacency matrix has the sources of one destination. Its arrays are not checked yet.
    if isinstance(adjacency, Tensor) and adjacency.layout == torch.sparse_csr and adjacency.dim() == 2:
        pointer, source = adjacency.crow_indices(), adjacency.col_indices()
        degree = pointer.diff()
        if bool((degree < 0).any()) or int(pointer[0]) != 0 or int(pointer[-1]) != source.numel():
            raise InputError(f"{path} adj_t: row pointers that do not fit its columns; allowed: a CSR matrix")
        return torch.stack([source, torch.arange(degree.numel()).repeat_interleave(degree)]), "adj_t"
    if isinstance(adjacency, Tensor) and adjacency.layout == torch.sparse_coo and adjacency._indices().size(0) == 2:
        return adjacency._indices().flip(0), "adj_t"
    raise InputError(
        f"{path}: has adj_t of {getattr(adjacency, 'layout', type(adjacency).__name__)} but no edge_index; allowed: "
        "edge_index, or adj_t as a sparse CSR or COO tensor"
    )


def _edge_data(path: Path, fields: Mapping[str, Any], source: str, edge_fields: Collection[str]) -> EdgeTables:
    """Weights and features of the edges; the weights may be the values of adj_t, unless all are 1."""
    tables = {
        field: tensor_table(f"{path} {field}", _tensor(path, fields, field), "numbers")
        for field in edge_fields
        if fields.get(field) is not None
    }
    if source == "adj_t" and "edge_weight" in edge_fields:
        adjacency = fields["adj_t"]
        values = adjacency.values() if adjacency.layout == torch.sparse_csr else adjacency._values()
        if values.dim() == 1 and bool((values != 1).any()):
            tables.setdefault("edge_weight", tensor_table(f"{path} adj_t", values.detach(), "numbers"))
    return EdgeTables(tables.get("edge_weight"), tables.get("edge_attr"))


def _tensor(path: Path, fields: Mapping[str, Any], field: str) -> Tensor:
    value = fields.get(field)
    if not isinstance(value, Tensor) or value.layout != torch.strided:
        raise InputError(f"{path} {field}: is {type(value).__name__}; allowed: a dense tensor")
    return value.detach().float() if value.dtype == torch.bfloat16 else value.detach()


def _labels(path: Path, fields: Mapping[str, Any], features: Table, is_needed: bool, numbers: bool) -> Table | Numbers:
    """The labels; all negative if there are none, unless they are needed."""
    if fields.get("y") is None and not is_needed and not numbers:
        return array_table(features.name, np.full(features.num_rows or 0, -1, dtype=np.int64), "integers")
    name, y = f"{path} y", _tensor(path, fields, "y")
    if numbers or y.is_floating_point() or (y.dim() == 2 and y.size(1) > 1):
        return read_numbers(tensor_table(name, y, "targets"), features.num_rows)
    return tensor_table(name, y, "integers")


def _mask(path: Path, fields: Mapping[str, Any], field: str) -> Tensor:
    """A boolean mask over nodes, [num_nodes] or [num_nodes, num_splits], from booleans or 0 and 1."""
    mask = _tensor(path, fields, field)
    integers = not mask.is_floating_point() and not mask.is_complex()
    if mask.dim() not in (1, 2) or not integers or bool(((mask != 0) & (mask != 1)).any()):
        found = f"{mask.dtype} of shape {tuple(mask.shape)}"
        raise InputError(f"{path} {field}: is {found}; allowed: true and false, or 1 and 0, by node")
    return mask.bool()


def _of_split(name: str, mask: Tensor, split: int, num_splits: int) -> Tensor:
    allowed = mask.size(1) if mask.dim() == 2 else num_splits
    if not 0 <= split < allowed:
        raise InputError(f"{name}: has no split {split}; allowed: 0 to {allowed - 1}")
    return mask[:, split] if mask.dim() == 2 else mask
