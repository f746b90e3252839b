"""Networks of PyG's own classes as own models, for own_models.py."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch_geometric.nn import GAT, GCN, GINConv, GraphSAGE
from torch_geometric.nn.models.basic_gnn import BasicGNN

_CLASSES: dict[str, type[BasicGNN]] = {"gcn": GCN, "sage": GraphSAGE, "gat": GAT}


def build(in_channels: int, out_channels: int, arch: str, width: int, depth: int, dropout: float) -> nn.Module:
    """The same network as the built-in one: without biases, and without dropout if that is 0."""
    if arch == "gin":
        return Isomorphism([in_channels, *[width] * (depth - 1), out_channels], width)
    return _CLASSES[arch](in_channels, width, depth, out_channels, dropout=dropout, bias=False)


class Isomorphism(nn.Module):
    """GIN of PyG's layers. All hidden layers are wide; the last of PyG's class `GIN` is as narrow as the output."""

    def __init__(self, widths: list[int], hidden: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(GINConv(_mlp(a, hidden, b)) for a, b in pairwise(widths))

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Logits `[num_nodes, out_channels]`."""
        for conv in self.convs[:-1]:
            x = conv(x, edge_index).relu()
        out: Tensor = self.convs[-1](x, edge_index)
        return out


def _mlp(width_in: int, hidden: int, width_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width_in, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, width_out, bias=False))
