"""The fields of a PyG ``Data``, from a file or in memory, as the tables of a graph: one rule for both."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ugts_dist.errors import InputError
from ugts_dist.graphs.edge_tables import EdgeTables
from ugts_dist.graphs.label_numbers import Numbers, notes, read_numbers
from ugts_dist.graphs.raw import RawGraph
from ugts_dist.graphs.row_files import tensor_table
from ugts_dist.graphs.tables import Table, array_table

MASKS = {"train": "train_mask", "valid": "val_mask", "test": "test_mask"}
EDGE_FIELDS = ("edge_weight", "edge_attr")


@dataclass(frozen=True)
class Fields:
    """The fields of a Data.

    Attributes:
        prefix: what precedes the name of a field in messages: "graph.pt ", or "data.".
        values: by name; None is a field that the Data does not have.
    """

    prefix: str
    values: Mapping[str, Any]

    def has(self, field: str) -> bool:
        return self.values.get(field) is not None

    def name(self, field: str) -> str:
        """For messages."""
        return f"{self.prefix}{field}"

    def tensor(self, field: str) -> Tensor:
        """The value. Raises InputError unless it is a dense tensor."""
        value = self.values.get(field)
        if not isinstance(value, Tensor) or value.layout != torch.strided:
            raise InputError(f"{self.name(field)}: is {type(value).__name__}; allowed: a dense tensor")
        return value

    def table(self, field: str) -> Table:
        """The value as a table of numbers."""
        return tensor_table(self.name(field), self.tensor(field), "numbers")


def read_fields(
    name: str,
    fields: Fields,
    split: int,
    tell: Callable[[str], None],
    undirected: bool = False,
    num_classes: int | None = None,
    mask_fields: Mapping[str, str] = MASKS,
    edge_fields: Collection[str] = EDGE_FIELDS,
    numbers: bool = False,
) -> RawGraph:
    """The tables of a graph with x, edge_index (or adj_t), and y, train_mask, val_mask and test_mask.

    It may lack masks, or y and masks: then it has no split, as for `ugts predict` and for link prediction.

    Args:
        name: of the graph.
        fields: of the Data.
        split: the column of masks with several; a mask with one axis is the same for every split.
        tell: called with a line about unused fields, and about numbers that may be classes.
        undirected: add the reverse of each edge.
        num_classes: None: one more than the highest label.
        mask_fields: the field of each split; empty if the split is drawn.
        edge_fields: those to read if the Data has them: edge_weight (or values of adj_t that are not all 1), edge_attr.
        numbers: whole numbers in one column of y are numbers, too, and not classes. A y of floats, or of several
            columns, always has numbers, NaN if unknown.

    Raises InputError, which names the field, for anything else.
    """
    edge_index, source = _edge_index(fields)
    if unused := [field for field in set(MASKS.values()) - set(mask_fields.values()) if fields.has(field)]:
        tell(f"{fields.name(', '.join(sorted(unused)))} not used: the split is drawn")
    has_masks = any(map(fields.has, mask_fields.values()))
    masks = {array: _mask(fields, field) for array, field in mask_fields.items() if has_masks}
    num_splits = max([mask.size(1) for mask in masks.values() if mask.dim() == 2], default=1)
    splits = {array: _of_split(fields.name(MASKS[array]), mask, split, num_splits) for array, mask in masks.items()}
    features = fields.table("x")
    labels = _labels(fields, features, has_masks or not mask_fields, numbers)
    if isinstance(labels, Numbers):
        for note in notes(labels, numbers):
            tell(note)
    return RawGraph(
        name=name,
        source="PyG Data",
        edges=tensor_table(fields.name(source), edge_index.t(), "integers"),
        features=features,
        labels=labels,
        splits={array: tensor_table(fields.name(MASKS[array]), mask, "ids") for array, mask in splits.items()},
        undirected=undirected,
        num_classes=num_classes,
        edge_data=_edge_data(fields, source, edge_fields),
    )


def _edge_index(fields: Fields) -> tuple[Tensor, str]:
    """Sources above destinations, [2, num_edges], and the name of their field."""
    if fields.has("edge_index") or not fields.has("adj_t"):
        edge_index = fields.tensor("edge_index")
        if edge_index.dim() != 2 or edge_index.size(0) != 2:
            raise InputError(
                f"{fields.name('edge_index')}: has shape {tuple(edge_index.shape)}; allowed: (2, number of edges)"
            )
        return edge_index, "edge_index"
    adjacency, name = fields.values["adj_t"], fields.name("adj_t")
    # A row of the transposed adjacency matrix has the sources of one destination. Its arrays are not checked yet.
    if isinstance(adjacency, Tensor) and adjacency.layout == torch.sparse_csr and adjacency.dim() == 2:
        pointer, source = adjacency.crow_indices().cpu(), adjacency.col_indices().cpu()
        degree = pointer.diff()
        if bool((degree < 0).any()) or int(pointer[0]) != 0 or int(pointer[-1]) != source.numel():
            raise InputError(f"{name}: row pointers that do not fit its columns; allowed: a CSR matrix")
        return torch.stack([source, torch.arange(degree.numel()).repeat_interleave(degree)]), "adj_t"
    if isinstance(adjacency, Tensor) and adjacency.layout == torch.sparse_coo and adjacency._indices().size(0) == 2:
        return adjacency._indices().flip(0), "adj_t"
    kind = getattr(adjacency, "layout", type(adjacency).__name__)
    raise InputError(
        f"{name}: is {kind}, and there is no edge_index; allowed: edge_index, or adj_t as a sparse CSR or COO tensor"
    )


def _edge_data(fields: Fields, source: str, edge_fields: Collection[str]) -> EdgeTables:
    """Weights and features of the edges; the weights may be the values of adj_t, unless all are 1."""
    tables = {field: fields.table(field) for field in edge_fields if fields.has(field)}
    if source == "adj_t" and "edge_weight" in edge_fields:
        adjacency = fields.values["adj_t"]
        values = adjacency.values() if adjacency.layout == torch.sparse_csr else adjacency._values()
        if values.dim() == 1 and bool((values != 1).any()):
            tables.setdefault("edge_weight", tensor_table(fields.name("adj_t"), values, "numbers"))
    return EdgeTables(tables.get("edge_weight"), tables.get("edge_attr"))


def _labels(fields: Fields, features: Table, is_needed: bool, numbers: bool) -> Table | Numbers:
    """The labels; all negative if there are none, unless they are needed."""
    if not fields.has("y") and not is_needed and not numbers:
        return array_table(features.name, np.full(features.num_rows or 0, -1, dtype=np.int64), "integers")
    name, y = fields.name("y"), fields.tensor("y")
    if numbers or y.is_floating_point() or (y.dim() == 2 and y.size(1) > 1):
        return read_numbers(tensor_table(name, y, "targets"), features.num_rows)
    return tensor_table(name, y, "integers")


def _mask(fields: Fields, field: str) -> Tensor:
    """A boolean mask over nodes, [num_nodes] or [num_nodes, num_splits], from booleans or 0 and 1."""
    if not fields.has(field):
        allowed = f"a mask over nodes, or a random split instead of {', '.join(MASKS.values())}"
        raise InputError(f"{fields.name(field)}: is missing; allowed: {allowed}")
    mask = fields.tensor(field)
    integers = not mask.is_floating_point() and not mask.is_complex()
    if mask.dim() not in (1, 2) or not integers or bool(((mask != 0) & (mask != 1)).any()):
        kind = f"{mask.dtype} of shape {tuple(mask.shape)}"
        raise InputError(f"{fields.name(field)}: is {kind}; allowed: true and false, or 1 and 0, by node")
    return mask.bool()


def _of_split(name: str, mask: Tensor, split: int, num_splits: int) -> Tensor:
    allowed = mask.size(1) if mask.dim() == 2 else num_splits
    if not 0 <= split < allowed:
        raise InputError(f"{name}: has no split {split}; allowed: 0 to {allowed - 1}")
    return mask[:, split] if mask.dim() == 2 else mask
