"""A graph in memory: a PyG ``Data`` with its split, as a ``Graph``."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import Data

from ugts_dist.errors import InputError
from ugts_dist.graphs.graph import Graph, from_edges
from ugts_dist.graphs.pyg_data import MASKS
from ugts_dist.graphs.random_split import RandomSplit


def graph_of(data: Data, name: str, split: int = 0, random_split: str = "", seed: int = 0) -> Graph:
    """The graph of a PyG ``Data`` with x, edge_index and y, and with edge_weight and edge_attr if it has them.

    One without y and masks becomes a graph without labels and split, for predictions and for links.

    Args:
        split: the column of masks with several splits.
        random_split: percentages for training, validation and test, such as "60/20/20", drawn from the labelled nodes
            with `seed`, instead of train_mask, val_mask and test_mask.

    Raises InputError, which names the field, for a field that is missing or wrong.
    """
    x, edge_index = _tensor(data, "x"), _tensor(data, "edge_index")
    has_labels = bool(random_split) or any(getattr(data, field, None) is not None for field in ("y", *MASKS.values()))
    y = _tensor(data, "y") if has_labels else torch.full((x.shape[0],), -1)
    if y.dim() == 2 and y.shape[1] == 1:
        y = y if y.is_floating_point() else y[:, 0]
    elif y.dim() == 1 and y.is_floating_point():
        y = y[:, None]
    elif y.dim() == 2:
        y = y.float()
    if random_split:
        known = ~y.isnan().all(1) if y.is_floating_point() else y >= 0
        drawn = RandomSplit.parse(random_split, seed).draw(known.nonzero().flatten().numpy())
        parts = {array: torch.from_numpy(nodes) for array, nodes in drawn.items()}
    elif not has_labels:
        parts = dict.fromkeys(MASKS, torch.empty(0, dtype=torch.int64))
    else:
        parts = {array: _mask(data, field, split) for array, field in MASKS.items()}
    return from_edges(
        name,
        x,
        edge_index,
        y,
        parts["train"],
        parts["valid"],
        parts["test"],
        edge_weight=getattr(data, "edge_weight", None),
        edge_attr=getattr(data, "edge_attr", None),
    )


def _tensor(data: Data, field: str) -> Tensor:
    value = getattr(data, field, None)
    if not isinstance(value, Tensor) or value.layout != torch.strided:
        raise InputError(f"data.{field} is {type(value).__name__}, allowed is a dense tensor")
    return value.detach().cpu()


def _mask(data: Data, field: str, split: int) -> Tensor:
    if getattr(data, field, None) is None:
        allowed = f"a mask [num_nodes], or random_split='60/20/20' instead of {', '.join(MASKS.values())}"
        raise InputError(f"data.{field} is None, allowed is {allowed}")
    mask = _tensor(data, field)
    if mask.dim() == 2:
        if not 0 <= split < mask.shape[1]:
            raise InputError(f"split is {split}, allowed is 0 to {mask.shape[1] - 1}, as data.{field} has")
        mask = mask[:, split]
    return mask
