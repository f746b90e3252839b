"""Normalisation without trained parameters, between a convolution and its ReLU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
import torch_geometric.nn as pyg
from torch import Tensor, nn

from ugts_dist.models.remedies import DeepGNNOptions


class NodeNorm(nn.Module):
    """Mean 0 and variance 1 over the features of each node: `[num_nodes, width]` -> the same shape.

    NodeNorm of Zhou et al. 2021, "Understanding and Resolving Performance Degradation in Graph Convolutional
    Networks", type "n", the default of VITA-Group/Deep_GCN_Benchmarking: layer normalisation.
    """

    eps = 1e-5

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[1:], eps=self.eps).to(x.dtype)


class PairNorm(nn.Module):
    """Feature means 0 and mean squared norm 1 over all nodes: `[num_nodes, width]` -> the same shape (PN, scale 1).

    PyG's own (Zhao and Akoglu 2020, "PairNorm: Tackling Oversmoothing in GNNs"), with the eps of
    VITA-Group/Deep_GCN_Benchmarking. `forward` takes all nodes at once. If they come in parts, the caller adds the
    `sums` of the parts, and `normalised` returns the rows of any part.
    """

    eps = 1e-6

    def __init__(self) -> None:
        super().__init__()
        self._norm = pyg.PairNorm(eps=self.eps)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self._norm(x.float()).to(x.dtype)
        return out

    def sums(self, x: Tensor) -> Tensor:
        """Sums over rows, of each feature and of the squared norm: float64 `[width + 1]`."""
        x = x.double()
        return torch.cat([x.sum(0), x.square().sum().reshape(1)])

    def normalised(self, x: Tensor, sums: Tensor, num_nodes: int) -> Tensor:
        """Normalise some rows by the sums over all `num_nodes` rows."""
        mean, square = sums[:-1] / num_nodes, sums[-1] / num_nodes
        # Rounding can make the difference negative if all rows are equal.
        spread = (square - mean.square().sum()).clamp(min=0.0)
        return ((x.double() - mean) / (self.eps + spread).sqrt()).to(x.dtype)


def make_norm(remedies: DeepGNNOptions) -> nn.Module | None:
    match remedies.norm:
        case "nodenorm":
            return NodeNorm()
        case "pairnorm":
            return PairNorm()
    return None
