"""A sampled subgraph, and what every sampler has in common: its seeds' errors, and the key of a hop's draws."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor
from torch_geometric.sampler import SamplerOutput

from ugts_dist import hashing
from ugts_dist.errors import InputError

_DOMAIN = 0x4E45494748  # separates the neighbours' hashes from those of seeds and splits


@dataclass(frozen=True, eq=False)
class Hop:
    """The edges of one layer in CSR form; destination ``i`` is node ``i`` of the sample.

    Attributes:
        indptr: [num_dst + 1] int32, or int64 if the graph requires it.
        indices: positions of the sources in the sample's ``nodes``, [num_edges] of the same type.
        num_src: nodes of the sample that were reached up to this hop.
        edges: position of each edge in the graph's `indices`, where its weight and features are, [num_edges] int64;
            None if the sampler does not return them.
    """

    indptr: Tensor
    indices: Tensor
    num_src: int
    edges: Tensor | None = None

    @property
    def num_dst(self) -> int:
        return self.indptr.numel() - 1


@dataclass(frozen=True, eq=False)
class Sample:
    """The sample of one step on one rank.

    Attributes:
        step: the global step.
        nodes: [num_nodes] int64 ids: the seeds, then the new nodes of each hop, ascending within the hop.
        num_seeds: number of seeds.
        hops: the seeds' own hop first.
    """

    step: int
    nodes: Tensor
    num_seeds: int
    hops: tuple[Hop, ...]

    def output(self) -> SamplerOutput:
        """The format of PyG's loaders: ``row`` (source) and ``col`` (destination) are positions in ``node``."""
        rows = [hop.indices.long() for hop in self.hops]
        cols = [
            torch.arange(hop.num_dst, device=hop.indptr.device).repeat_interleave(
                hop.indptr.diff(), output_size=hop.indices.numel()
            )
            for hop in self.hops
        ]
        edges = [hop.edges for hop in self.hops if hop.edges is not None]
        met = [self.num_seeds, *(hop.num_src for hop in self.hops)]
        return SamplerOutput(
            node=self.nodes,
            row=torch.cat(rows),
            col=torch.cat(cols),
            edge=torch.cat(edges) if edges else None,
            num_sampled_nodes=[met[0], *(after - before for before, after in pairwise(met))],
            num_sampled_edges=[row.numel() for row in rows],
            metadata=(self.nodes[: self.num_seeds], None),
        )


class Sampler(Protocol):
    """Samples around seed nodes."""

    fan_out: tuple[int, ...]

    def sample(self, step: int, nodes: Tensor) -> Sample:
        """Sample around distinct seed nodes, [num_seeds] ids."""
        ...


def hop_key(seed: int, step: int, hop: int) -> int:
    """The random sequence of one hop's draws, whose element is the node."""
    return hashing.key(_DOMAIN, seed, step, hop)


def bad_indptr() -> InputError:
    """The error for row pointers of a graph that was checked when it was opened."""
    return InputError("indptr: leads out of indices; the files of the graph changed while they were used")


def bad_seeds(seeds: Tensor, num_nodes: int) -> InputError:
    """What is wrong with seed nodes that lead out of the graph or repeat one another."""
    outside = seeds[(seeds < 0) | (seeds >= num_nodes)]
    if outside.numel():
        return InputError(f"seed nodes: {int(outside[0])} is not a node; allowed: 0 to {num_nodes - 1}")
    ordered = seeds.sort().values
    twin = int(ordered[1:][ordered[1:] == ordered[:-1]][0])
    return InputError(f"seed nodes: node {twin} occurs more than once; allowed: each node once in a batch")
