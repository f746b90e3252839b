"""A GNN that predicts for whole molecules: atom encoder, convolutions, mean over the atoms, linear output."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import global_mean_pool

from ugts_dist.models.block import Block
from ugts_dist.models.dropout import Dropout
from ugts_dist.models.gnn import GNN, Arch
from ugts_dist.models.own import OwnNetwork


class GraphNetwork(nn.Module):
    """OGB's baseline for molecules (Hu et al. 2020) without its biases, batch normalisation and bond features.

    The paper's code has no graph-level network. As in OGB's, all convolutions have the same width, so that `depth`
    counts convolutions only, and one linear layer follows the mean over a graph's nodes. Unlike in OGB's, a ReLU
    follows the last convolution: otherwise that convolution and the output would be one linear map.

    Everything is maskable. An embedding table `[categories, width]` is the transpose of a matrix that maps one-hot
    vectors, but its fan-in is defined as `width`, as for the square weights after it. Its initial scores then have the
    same scale as theirs, so that the global threshold treats them alike. Calibration sets the scale of its weights.

    Args:
        arch, depth, width, heads: as in `GNN`.
        num_tasks: width of the output, one logit per binary label.
    """

    def __init__(self, arch: Arch, num_tasks: int, depth: int = 3, width: int = 448, heads: int = 1) -> None:
        super().__init__()
        from ogb.graphproppred.mol_encoder import AtomEncoder  # imports pandas: seconds and memory

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
            block: all edges, the same for every layer.
            graph: the graph of each node, ascending, `[num_nodes]`.
            num_graphs: in this batch.
            dropout: of a training step, for the input of each convolution and for the mean.
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
        """Groups of weights of equal shape at the same position in several convolutions."""
        return [[f"gnn.{name}" for name in names] for names in self.gnn.folds()]

    def calibrated(self) -> dict[nn.Module, list[str]]:
        """Modules whose output calibration scales to 1, in order, and the weights that scale it.

        The tables of the encoder are one layer: its output is the sum of their rows.
        """
        convs = {module: [f"gnn.{name}" for name in names] for module, names in self.gnn.calibrated().items()}
        return {self.encoder: self.input_layers(), **convs, self.head: ["head.weight"]}

    def attention(self) -> list[nn.Module]:
        """The calibrated modules whose output is half of an attention logit."""
        return self.gnn.attention()

    def outputs(self) -> list[nn.Module]:
        """The calibrated module whose scale is that of the logits."""
        return [self.head]


Network = GNN | GraphNetwork | OwnNetwork
