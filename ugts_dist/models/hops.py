"""The blocks of a batch for an own network: as one graph in PyG's form, or as bipartite edges layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ugts_dist.csr import row_pointers
from ugts_dist.models.block import Block

EDGE_VALUES = ("edge_weight", "edge_attr")


@dataclass(frozen=True, eq=False)
class Union:
    """The edges of all hops as one graph, as PyG's NeighborLoader has it.

    A node's neighbours are those that were drawn at the hop at which the node was reached.

    Attributes:
        kept: positions of its nodes among the sources of the first block, the seed nodes first, then those of each hop,
            `[num_nodes]`; None for all sources.
        edge_index: sources above destinations, hop by hop, int64 `[2, num_edges]`.
        nodes_per_hop: number of seed nodes, then of new nodes of each hop.
        edges_per_hop: number of edges of each hop.
        values: edge weights and features, by PyG's names, a row for each edge.
    """

    kept: Tensor | None
    edge_index: Tensor
    nodes_per_hop: list[int]
    edges_per_hop: list[int]
    values: dict[str, Tensor]

    @cached_property
    def adjacency(self) -> Tensor:
        """The edges as a sparse CSR matrix `[num_nodes, num_nodes]`, a row for each destination.

        PyG takes it in place of edge_index: https://pytorch-geometric.readthedocs.io/en/latest/advanced/sparse_tensor.html
        """
        num_nodes = sum(self.nodes_per_hop)
        source, destination = self.edge_index  # ascending by destination
        indptr = row_pointers(torch.bincount(destination, minlength=num_nodes))
        ones = torch.ones(source.numel(), device=source.device)
        return torch.sparse_csr_tensor(indptr, source, ones, (num_nodes, num_nodes), check_invariants=False)

    def tensors(self) -> Iterator[Tensor]:
        """All tensors, for the management of their memory."""
        yield self.edge_index
        yield from self.values.values()
        if self.kept is not None:
            yield self.kept


class Hops(list[Block]):
    """The blocks of a batch, the input layer's first, which also remembers their union."""

    @property
    def num_seeds(self) -> int:
        return self[-1].num_dst

    @property
    def is_whole(self) -> bool:
        """Whether the seed nodes are all nodes."""
        return self[-1].num_dst == self[0].num_src

    @cached_property
    def union(self) -> Union:
        """All hops as one graph."""
        last = self[-1]
        if self.is_whole:
            edge_index = torch.stack([last.indices.long(), last.pattern.rows])
            nothing = [0] * (len(self) - 1)
            nodes, edges = [last.num_dst, 0, *nothing], [edge_index.shape[1], *nothing]
            return Union(None, edge_index, nodes, edges, edge_values(last))
        return self._of_sample()

    @cached_property
    def bipartite(self) -> list[tuple[Tensor, tuple[int, int]]]:
        """Edges `[2, num_edges]` and (number of sources, number of destinations) of each layer."""
        return [
            (torch.stack([block.indices.long(), block.pattern.rows]), (block.num_src, block.num_dst)) for block in self
        ]

    def tensors(self) -> Iterator[Tensor]:
        """The tensors of what is remembered."""
        if "union" in vars(self):
            yield from self.union.tensors()
        for edge_index, _ in vars(self).get("bipartite", ()):
            yield edge_index

    def _of_sample(self) -> Union:
        """A hop has rows for all nodes reached before it; those of nodes that are not new are left out."""
        device, num_src = self[-1].indices.device, self[0].num_src
        is_new = torch.zeros(num_src, dtype=torch.bool, device=device)
        is_new[: self.num_seeds] = True
        met, order = is_new.clone(), [torch.arange(self.num_seeds, device=device)]
        edges: list[Tensor] = []
        values: dict[str, list[Tensor]] = {}
        for hop in reversed(self):
            kept = is_new[hop.pattern.rows].nonzero().flatten()
            edges.append(torch.stack([hop.indices[kept].long(), hop.pattern.rows[kept]]))
            for name, value in edge_values(hop).items():
                values.setdefault(name, []).append(value[kept])
            reached = torch.zeros_like(met)
            reached[edges[-1][0]] = True
            is_new = reached & ~met
            met |= is_new
            order.append(is_new.nonzero().flatten())
        nodes = torch.cat(order)
        position = torch.empty(num_src, dtype=torch.int64, device=device)
        position[nodes] = torch.arange(nodes.numel(), device=device)
        return Union(
            nodes,
            position[torch.cat(edges, dim=1)],
            [part.numel() for part in order],
            [part.shape[1] for part in edges],
            {name: torch.cat(parts) for name, parts in values.items()},
        )


def edge_values(block: Block) -> dict[str, Tensor]:
    """The weights and features of edges that a block has, by the names of PyG."""
    values = {"edge_weight": block.weight, "edge_attr": block.attr}
    return {name: value for name, value in values.items() if value is not None}
