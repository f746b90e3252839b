"""A GNN that predicts for whole molecules: atom encoder, convolutions, mean over the atoms, linear output."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import global_mean_pool

from ugts_dist.models.block import Block
from ugts_dist.models.dropout import Dropout
from ugts_dist.models.gnn import GNN, Arch


class GraphNetwork(nn.Module):
    """OGB's baseline for molecules (Hu et al. 2020) without its biases, batch normalisation and bond features.

    The paper's code has no graph-level network. As in OGB's, all convolutions are of the same width, so that `depth`
    counts convolutions alone, and one linear layer follows the mean over a graph's nodes. Unlike there, ReLU follows
    the last convolution too: without it that convolution and the output would be one linear map.

    Everything is maskable. An embedding table `[categories, width]` is the transpose of a matrix that maps one-hot
    vectors, but its fan-in is taken to be `width` as for the square weights behind it: its first scores then have the
    scale of theirs, and the global threshold treats them alike; the scale of its weights is up to the calibration.

    Args:
        arch, depth, width, heads: as of `GNN`.
        num_tasks: width of the output, a logit for each binary label.
    """

    def __init__(self, arch: Arch, num_tasks: int, depth: int = 3, width: int = 448, heads: int = 1) -> None:
        super().__init__()
        from ogb.graphproppred.mol_encoder import AtomEncoder  # brings pandas: seconds and memory

        self.encoder = AtomEncoder(width)
        self.gnn = GNN(arch, width, width, depth, width, heads)
        self.head = nn.Linear(width, num_tasks, bias=False)

    @property
    def depth(self) -> int:
        return self.gnn.depth

    def forward(
        self, x: Tensor, block: Block, graph: Tensor, num_graphs: int, dropout: Dropout | None = None
    ) -> Tensor:
        """Logits `[num_graphs, num_tasks]`.

        Args:
            x: categories of each node, int64 `[num_nodes, 9]`.
            block: all edges, of every layer.
            graph: which graph a node is part of, ascending, `[num_nodes]`.
            num_graphs: of this batch.
            dropout: that of a training step, of the input of each convolution and of the mean.
        """
        hidden = F.relu(self.gnn(self.encoder(x), [block] * self.depth, dropout))
        if dropout is not None:
            dropped = dropout(hidden, self.depth)
            assert isinstance(dropped, Tensor)
            hidden = dropped
        logits: Tensor = self.head(global_mean_pool(hidden, graph, num_graphs))
        return logits

    def input_layers(self) -> list[str]:
        """Names of the weights that read the features: the tables of the encoder."""
        return [f"encoder.atom_embedding_list.{k}.weight" for k in range(len(self.encoder.atom_embedding_list))]

    def folds(self) -> list[list[str]]:
        """Groups of weights at the same place of several convolutions, and of one shape."""
        return [[f"gnn.{name}" for name in names] for names in self.gnn.folds()]

    def calibrated(self) -> dict[nn.Module, list[str]]:
        """Modules whose output is to have unit scale, in order, and the weights that scale it.

        The tables of the encoder are one layer: its output is the sum of their rows.
        """
        convs = {module: [f"gnn.{name}" for name in names] for module, names in self.gnn.calibrated().items()}
        return {self.encoder: self.input_layers(), **convs, self.head: ["head.weight"]}

    def attention(self) -> list[nn.Module]:
        """The modules among the calibrated ones whose output is half of an attention logit."""
        return self.gnn.attention()

    def outputs(self) -> list[nn.Module]:
        """The calibrated module whose scale is that of the logits."""
        return [self.head]


Network = GNN | GraphNetwork
