"""Neighbour samplers of other packages, pyg-lib and torch-sparse, as replacements for ours."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import torch
from torch import Tensor

from ugts_dist import hashing
from ugts_dist.csr import positions_of
from ugts_dist.errors import InputError
from ugts_dist.graphs.kernels import BACKENDS, Kernel
from ugts_dist.graphs.sample import Hop, Sample, bad_seeds
from ugts_dist.graphs.sampling import NeighborSampler
from ugts_dist.index_type import index_type

_DOMAIN = 0x4B45524E454C  # separates these seeds from our own hashes


class KernelSampler(NeighborSampler):
    """Samples with the kernel of another package, by PyG's rule: each node draws once, when it is first reached.

    A layer therefore reuses, for the destinations that it shares with the next layer, the neighbours drawn there;
    ``NeighborSampler`` draws new ones. The kernel uses torch's random generator, which is seeded from (run seed, step,
    first seed node) during a call. A step can be repeated, but its samples depend on how the seed nodes are shared over
    ranks, and another thread that uses the generator changes them. pyg-lib draws uniformly. torch-sparse up to 0.6.18
    does not: its range excludes one neighbour, so that the last ones of a list are drawn too rarely (pytorch_sparse
    issue 385).

    Args:
        kernel: of ``BACKENDS``.
        indptr: [num_nodes + 1] int64, on the CPU.
        indices: [num_edges] int32 or int64, on the CPU. The kernels take int64 only; int32 is copied, which takes 8
            bytes per edge and process.
        fan_out: neighbours that a node draws at each hop, the seeds' own hop first; -1 draws all.
        seed: the run seed.
        with_edges: whether samples have the positions of their edges.
    """

    _generator = threading.Lock()  # torch has one generator per process

    def __init__(
        self,
        kernel: Kernel,
        indptr: Tensor,
        indices: Tensor,
        fan_out: Sequence[int],
        seed: int,
        with_edges: bool = False,
    ) -> None:
        super().__init__(indptr, indices.long(), fan_out, seed, with_edges)
        self.kernel = kernel

    def sample(self, step: int, nodes: Tensor) -> Sample:
        """Sample around the seed nodes, [num_seeds] distinct ids (else InputError).

        Edges are sorted by destination. New nodes are in the order in which the kernel reached them.
        """
        seeds = nodes.long().contiguous()
        _check_seeds(seeds, self.num_nodes)
        first = int(seeds[0]) if seeds.numel() else 0
        with self._generator:
            state = torch.default_generator.get_state()
            try:
                torch.default_generator.manual_seed(hashing.key(_DOMAIN, self.seed, step, first))
                met, source, destination = self.kernel(self.indptr, self.indices, seeds, list(self.fan_out))
            finally:
                torch.default_generator.set_state(state)
        # The kernels' own numbers of edges differ by package and version; the two ends are always known.
        edges = positions_of(self.indptr, self.indices, met[destination], met[source]) if self.with_edges else None
        return Sample(step, met, seeds.numel(), self._hops(seeds.numel(), source, destination, edges))

    def _hops(self, num_seeds: int, source: Tensor, destination: Tensor, edges: Tensor | None) -> tuple[Hop, ...]:
        """Split the edges, which are sorted by destination, into the layers' blocks.

        The kernels append a hop's new nodes after all others, so the largest source gives their number.
        """
        hops: list[tuple[int, int, int]] = []  # destinations, edges, sources
        num_met = num_seeds
        for _ in self.fan_out:
            num_dst = num_met
            num_edges = int(torch.searchsorted(destination, num_dst))
            num_met = max(num_met, int(source[:num_edges].max()) + 1) if num_edges else num_met
            hops.append((num_dst, num_edges, num_met))
        integer = index_type(self.num_nodes, source.numel())
        indptr = torch.searchsorted(destination, torch.arange(hops[-1][0] + 1)).to(integer)
        indices = source.to(integer)
        return tuple(
            Hop(indptr[: dst + 1], indices[:count], src, None if edges is None else edges[:count])
            for dst, count, src in hops
        )


def make_sampler(
    backend: str, indptr: Tensor, indices: Tensor, fan_out: Sequence[int], seed: int, with_edges: bool = False
) -> KernelSampler:
    """The sampler of another package, by its name in ``BACKENDS``.

    Raises InputError, with the reason, if it can't be used: it is unknown, not installed or fails to load, or the graph
    is on a GPU.
    """
    if backend not in BACKENDS:
        raise InputError(f"batch.backend is {backend}, allowed are {', '.join(BACKENDS)}")
    problem = BACKENDS[backend].problem()
    if problem:
        raise InputError(f"batch.backend is {backend}, but {problem}; allowed is a back end that `ugts doctor` finds")
    if indptr.device.type != "cpu":
        raise InputError(f"batch.backend is {backend}, which samples on the CPU; the graph is on {indptr.device}")
    return KernelSampler(BACKENDS[backend].kernel, indptr, indices, fan_out, seed, with_edges)


def _check_seeds(seeds: Tensor, num_nodes: int) -> None:
    """Check the seeds: the kernels would read outside the graph, or count a node twice."""
    if seeds.dim() != 1:
        raise InputError(f"seed nodes: shape {tuple(seeds.shape)}; allowed: a list of node ids")
    ordered = seeds.sort().values
    if bool(((ordered < 0) | (ordered >= num_nodes)).any() or (ordered[1:] == ordered[:-1]).any()):
        raise bad_seeds(seeds, num_nodes)
