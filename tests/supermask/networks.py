"""Small networks of PyG's and torch's own layers, and a directed graph for them."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn

FEATURES = 5


def graph(num_nodes: int = 12, num_edges: int = 30, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features and edges; the last node has none."""
    generator = torch.Generator().manual_seed(seed)
    edges = torch.randint(num_nodes - 1, (2, num_edges), generator=generator)
    return torch.randn(num_nodes, FEATURES, generator=generator), edges[:, edges[0] != edges[1]].unique(dim=1)


class Plain(nn.Module):
    """A network without a graph, with the arguments of one with a graph."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(FEATURES, 8)
        self.norm = nn.BatchNorm1d(8)
        self.second = nn.Linear(8, 3)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.second(torch.relu(self.norm(self.first(x))))


def gin(bias: bool = True) -> nn.Module:
    mlp = nn.Sequential(nn.Linear(FEATURES, 7, bias=bias), nn.ReLU(), nn.Linear(7, 3, bias=bias))
    return pyg.GINConv(mlp, train_eps=True)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "linear": Plain,
    "gcn": lambda: pyg.GCNConv(FEATURES, 3),
    "gat": lambda: pyg.GATConv(FEATURES, 4, heads=2),
    "gin": gin,
    "sage": lambda: pyg.SAGEConv(FEATURES, 3),
    "gcn of two layers": lambda: pyg.GCN(FEATURES, 6, 2, 3),
    "gat with batch norm": lambda: pyg.GAT(FEATURES, 6, 2, 3, norm="batch_norm"),
}


def randomise(model: nn.Module) -> nn.Module:
    """Set biases and normalisation to values other than zero or one, so that a loss of them is noticed."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.dim() == 1 and not name.endswith("threshold"):
                value.copy_(0.2 + 0.6 * torch.rand(value.shape, generator=generator))
    return model
