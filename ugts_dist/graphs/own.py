"""Your own graph: files of edges, features, labels and splits, or a PyG ``Data`` saved by torch."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.data.data import DataEdgeAttr, DataTensorAttr
from torch_geometric.data.storage import GlobalStorage

from ugts_dist.errors import InputError
from ugts_dist.graphs.files import reading
from ugts_dist.graphs.raw import RawGraph
from ugts_dist.graphs.row_files import edge_table, open_table, tensor_table

MASKS = {"train": "train_mask", "valid": "val_mask", "test": "test_mask"}

_DATA_CLASSES = [Data, DataEdgeAttr, DataTensorAttr, GlobalStorage]  # what a pickled Data is made of


def from_files(
    name: str,
    edges: Path,
    features: Path,
    labels: Path,
    splits: Mapping[str, Path],
    undirected: bool,
    num_classes: int | None,
) -> RawGraph:
    """A graph in files as ``tables`` reads them. Raises InputError for a file that is missing or of a wrong kind."""
    return RawGraph(
        name=name,
        source="files",
        edges=edge_table(edges),
        features=open_table(features, "numbers"),
        labels=open_table(labels, "integers"),
        splits={array: open_table(path, "ids") for array, path in splits.items()},
        undirected=undirected,
        num_classes=num_classes,
    )


def from_data(name: str, path: Path, split: int, undirected: bool, num_classes: int | None) -> RawGraph:
    """A PyG ``Data`` in a file of ``torch.save``, read memory-mapped and with ``weights_only``: it runs no code.

    It has x, edge_index, y, train_mask, val_mask and test_mask; ``split`` chooses a column of masks that have
    several. Raises InputError for anything else.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    data = _load(path)
    if not isinstance(data, Data):
        raise InputError(f"{path}: holds a {type(data).__name__}; allowed: a torch_geometric.data.Data")
    edge_index = _tensor(path, data, "edge_index")
    if edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise InputError(f"{path} edge_index: has shape {tuple(edge_index.shape)}; allowed: (2, number of edges)")
    masks = {array: _mask(path, data, mask, split) for array, mask in MASKS.items()}
    return RawGraph(
        name=name,
        source="PyG Data",
        edges=tensor_table(f"{path} edge_index", edge_index.t(), "integers"),
        features=tensor_table(f"{path} x", _tensor(path, data, "x"), "numbers"),
        labels=tensor_table(f"{path} y", _tensor(path, data, "y"), "integers"),
        splits={array: tensor_table(f"{path} {MASKS[array]}", mask, "ids") for array, mask in masks.items()},
        undirected=undirected,
        num_classes=num_classes,
    )


def _load(path: Path) -> Any:
    # Its end takes every class off torch's list, also those that were on it before.
    more = [kind for kind in _DATA_CLASSES if kind not in torch.serialization.get_safe_globals()]
    with reading(path), torch.serialization.safe_globals(more):
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except pickle.UnpicklingError as error:
            if wrong := re.search(r"GLOBAL ([\w.]+)", str(error)):
                raise InputError(f"{path}: holds {wrong[1]}; allowed: a Data of tensors, saved by torch.save") from None
            raise


def _tensor(path: Path, data: Data, field: str) -> Tensor:
    value = data.get(field)
    if not isinstance(value, Tensor) or value.layout != torch.strided:
        raise InputError(f"{path} {field}: is {type(value).__name__}; allowed: a dense tensor")
    return value.detach().float() if value.dtype == torch.bfloat16 else value.detach()


def _mask(path: Path, data: Data, field: str, split: int) -> Tensor:
    mask = _tensor(path, data, field)
    if mask.dtype != torch.bool or mask.dim() not in (1, 2):
        raise InputError(
            f"{path} {field}: is {mask.dtype} of shape {tuple(mask.shape)}; allowed: true and false by node"
        )
    num_splits = mask.size(1) if mask.dim() == 2 else 1
    if not 0 <= split < num_splits:
        raise InputError(f"{path} {field}: has no split {split}; allowed: 0 to {num_splits - 1}")
    return mask[:, split] if mask.dim() == 2 else mask
