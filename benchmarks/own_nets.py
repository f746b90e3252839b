"""PyG's own classes as own models, for own_models.py."""

from __future__ import annotations

from torch import nn
from torch_geometric.nn import GAT, GCN, GIN, GraphSAGE
from torch_geometric.nn.models.basic_gnn import BasicGNN

_CLASSES: dict[str, type[BasicGNN]] = {"gcn": GCN, "sage": GraphSAGE, "gat": GAT, "gin": GIN}


def build(in_channels: int, out_channels: int, arch: str, width: int, depth: int, dropout: float) -> nn.Module:
    """The same network as the built-in one: without biases, and without dropout if that is 0."""
    options = {"norm": None} if arch == "gin" else {"bias": False}
    return _CLASSES[arch](in_channels, width, depth, out_channels, dropout=dropout, **options)
