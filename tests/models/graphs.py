"""Random directed graphs as PyG sees them and as the models see them."""

from __future__ import annotations

import torch
from torch import Tensor

from ugts_dist.models import Block


def random_edges(num_nodes: int, num_edges: int, seed: int = 0) -> Tensor:
    """Directed, without self loops, each once; the last two nodes have no edge, the one before no in-edge."""
    generator = torch.Generator().manual_seed(seed)
    source = torch.randint(num_nodes - 2, (num_edges,), generator=generator)
    destination = torch.randint(num_nodes - 3, (num_edges,), generator=generator)
    edges = torch.stack([source, destination])
    return edges[:, source != destination].unique(dim=1)


def block_of(
    edges: Tensor, num_nodes: int, start: int = 0, stop: int | None = None, index: torch.dtype = torch.int32
) -> Block:
    """The whole in-neighbourhoods of nodes `start` to `stop`, collected node by node."""
    stop = num_nodes if stop is None else stop
    rows = [edges[0, edges[1] == node].sort().values for node in range(start, stop)]
    indptr = torch.tensor([0, *(row.numel() for row in rows)]).cumsum(0)
    degree = torch.tensor([int((edges[1] == node).sum()) for node in range(num_nodes)])
    return Block(indptr.to(index), torch.cat([*rows, edges[0, :0]]).to(index), degree, start)


def dense(block_values: Tensor, indptr: Tensor, indices: Tensor, num_cols: int) -> Tensor:
    """A sparse matrix written out, entry by entry; repeated entries add up."""
    matrix = torch.zeros(indptr.numel() - 1, num_cols)
    for row in range(matrix.shape[0]):
        for entry in range(int(indptr[row]), int(indptr[row + 1])):
            matrix[row, int(indices[entry])] += block_values[entry]
    return matrix
