"""Other people's neighbour samplers, pyg-lib and torch-sparse, in the place of ours where they are installed."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import torch
from torch import Tensor

from ugts_dist import hashing
from ugts_dist.errors import InputError
from ugts_dist.graphs.kernels import BACKENDS, Kernel
from ugts_dist.graphs.sampling import Hop, NeighborSampler, Sample, bad_seeds
from ugts_dist.index_type import index_type

_DOMAIN = 0x4B45524E454C  # sets these seeds apart from our own hashes


class KernelSampler(NeighborSampler):
    """Samples with the kernel of another package, by PyG's rule: a node draws once, when it is first met.

    A layer therefore finds again, for the destinations that it shares with the layer after it, the neighbours
    that these drew there, where ``NeighborSampler`` draws afresh. What is drawn comes from torch's own random
    generator, which is set from (run seed, step, first seed node) for the length of a call: a step can be
    repeated, but it depends on how the seed nodes are shared over ranks. Another thread that draws from that
    generator meanwhile changes the outcome. pyg-lib draws uniformly. torch-sparse up to 0.6.18 does not: its range
    leaves one neighbour out, so that the last ones of a list are drawn too rarely (pytorch_sparse issue 385).

    Args:
        kernel: of ``BACKENDS``.
        indptr: [num_nodes + 1] int64, on the CPU.
        indices: [num_edges] int32 or int64, on the CPU. The kernels take int64 only: of int32 a copy is made, 8
            bytes an edge for each process.
        fan_out: neighbours a node draws at each hop, the seeds' own hop first; -1 takes all of them.
        seed: the run seed.
    """

    _generator = threading.Lock()  # torch has one generator a process

    def __init__(self, kernel: Kernel, indptr: Tensor, indices: Tensor, fan_out: Sequence[int], seed: int) -> None:
        super().__init__(indptr, indices.long(), fan_out, seed)
        self.kernel = kernel

    def sample(self, step: int, nodes: Tensor) -> Sample:
        """Sample around the seed nodes, [num_seeds] ids, all different (else InputError).

        Edges are sorted by destination; new nodes are in the order in which the kernel met them.
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
        return Sample(step, met, seeds.numel(), self._hops(seeds.numel(), source, destination))

    def _hops(self, num_seeds: int, source: Tensor, destination: Tensor) -> tuple[Hop, ...]:
        """Cut the edges, which come destination after destination, into the layers' blocks.

        The kernels append a hop's new nodes behind all others, so that the largest source tells how many there are.
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
        return tuple(Hop(indptr[: dst + 1], indices[:edges], src) for dst, edges, src in hops)


def make_sampler(backend: str, indptr: Tensor, indices: Tensor, fan_out: Sequence[int], seed: int) -> KernelSampler:
    """The sampler of another package, by the name of ``BACKENDS``.

    Raises InputError where it cannot be used, with the reason: unknown, not installed, does not load, or the
    graph is on a GPU.
    """
    if backend not in BACKENDS:
        raise InputError(f"batch.backend is {backend}, allowed are {', '.join(BACKENDS)}")
    problem = BACKENDS[backend].problem()
    if problem:
        raise InputError(f"batch.backend is {backend}, but {problem}; allowed is a back end that `ugts doctor` finds")
    if indptr.device.type != "cpu":
        raise InputError(f"batch.backend is {backend}, which samples on the CPU; the graph is on {indptr.device}")
    return KernelSampler(BACKENDS[backend].kernel, indptr, indices, fan_out, seed)


def _check_seeds(seeds: Tensor, num_nodes: int) -> None:
    """The kernels would read outside the graph, or count a node twice."""
    if seeds.dim() != 1:
        raise InputError(f"seed nodes: shape {tuple(seeds.shape)}; allowed: a list of node ids")
    ordered = seeds.sort().values
    if bool(((ordered < 0) | (ordered >= num_nodes)).any() or (ordered[1:] == ordered[:-1]).any()):
        raise bad_seeds(seeds, num_nodes)
