"""Factories of own networks for tests: PyG's classes, and stacks of its layers."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
import torch_geometric.nn as pyg
from torch import Tensor, nn

from ugts_dist.models import NodeDropout


def gcn(in_channels: int, out_channels: int, width: int = 16, layers: int = 2, **options: Any) -> nn.Module:
    return pyg.GCN(in_channels, width, layers, out_channels, **options)


def sage(in_channels: int, out_channels: int, **options: Any) -> nn.Module:
    return pyg.GraphSAGE(in_channels, 16, 2, out_channels, **options)


def gat(in_channels: int, out_channels: int, **options: Any) -> nn.Module:
    return pyg.GAT(in_channels, 16, 2, out_channels, **{"heads": 2, **options})


def gin(in_channels: int, out_channels: int, **options: Any) -> nn.Module:
    return pyg.GIN(in_channels, 16, 2, out_channels, **options)


def pna(in_channels: int, out_channels: int) -> nn.Module:
    options: dict[str, Any] = {"aggregators": ["mean", "max"], "scalers": ["identity", "amplification"]}
    return pyg.PNA(in_channels, 16, 2, out_channels, deg=torch.tensor([0, 4, 4, 4]), **options)


def edge_cnn(in_channels: int, out_channels: int) -> nn.Module:
    return pyg.EdgeCNN(in_channels, 16, 2, out_channels)


class Stack(nn.Module):
    """A linear layer, convolutions of one width, and a linear layer."""

    def __init__(self, in_channels: int, out_channels: int, convs: list[nn.Module], dropout: nn.Module | None) -> None:
        super().__init__()
        self.first, self.convs, self.last = (
            nn.Linear(in_channels, 16),
            nn.ModuleList(convs),
            nn.Linear(16, out_channels),
        )
        self.dropout = dropout or nn.Identity()
        self.num_layers = len(convs)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        start = x = self.first(x).relu()
        for conv in self.convs:
            x = self.dropout(x)
            x = conv(x, start, edge_index) if isinstance(conv, pyg.GCN2Conv) else conv(x, edge_index)
            x = x.relu()
        out: Tensor = self.last(x)
        return out


def gcn2(in_channels: int, out_channels: int, layers: int = 2, dropout: float = 0.0) -> nn.Module:
    convs: list[nn.Module] = [pyg.GCN2Conv(16, alpha=0.2, theta=0.5, layer=k + 1) for k in range(layers)]
    return Stack(in_channels, out_channels, convs, NodeDropout(dropout) if dropout else None)


def transformer(in_channels: int, out_channels: int) -> nn.Module:
    return Stack(in_channels, out_channels, [pyg.TransformerConv(16, 8, heads=2) for _ in range(2)], None)


def gps(in_channels: int, out_channels: int) -> nn.Module:
    convs: list[nn.Module] = [pyg.GPSConv(16, pyg.GCNConv(16, 16), heads=2, norm="layer_norm") for _ in range(2)]
    return Stack(in_channels, out_channels, convs, None)


class Adjs(nn.Module):
    """Bipartite layers, as in PyG's examples of NeighborSampler."""

    def __init__(self, in_channels: int, out_channels: int, num_items: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList([pyg.SAGEConv(in_channels, 16), pyg.SAGEConv(16, out_channels)])
        self.num_layers, self._num_items = 2, num_items

    def forward(self, x: Tensor, adjs: Any) -> Tensor:
        for k, (conv, adj) in enumerate(zip(self.convs, adjs, strict=True)):
            if len(adj) != self._num_items:
                raise ValueError("too many values to unpack" if len(adj) > self._num_items else "not enough values")
            x = conv((x, x[: adj[-1][1]]), adj[0])
            x = F.relu(x) if k == 0 else x
        return x


def adjs(in_channels: int, out_channels: int, num_items: int = 3) -> nn.Module:
    return Adjs(in_channels, out_channels, num_items)


class Edges(nn.Module):
    """Reads the weights and features of edges."""

    def __init__(self, in_channels: int, out_channels: int, edge_dim: int) -> None:
        super().__init__()
        self.conv = pyg.GATv2Conv(in_channels, 16, edge_dim=edge_dim)
        self.last = pyg.GraphConv(16, out_channels)
        self.num_layers = 2

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor, edge_attr: Tensor) -> Tensor:
        out: Tensor = self.last(self.conv(x, edge_index, edge_attr).relu(), edge_index, edge_weight)
        return out


def edges(in_channels: int, out_channels: int, edge_dim: int = 3) -> nn.Module:
    return Edges(in_channels, out_channels, edge_dim)
