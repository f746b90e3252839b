"""The neighbour sampler: a pure function of (run seed, step, hop, node)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch_geometric.sampler import BaseSampler, EdgeSamplerInput, NodeSamplerInput, SamplerOutput

from ugts_dist import hashing
from ugts_dist.csr import positions_of_rows, row_pointers
from ugts_dist.errors import InputError
from ugts_dist.gpu_kernels import problem_on
from ugts_dist.graphs.device_sampling import MAX_FAN, DeviceSampler
from ugts_dist.graphs.sample import Hop, Sample, bad_indptr, bad_seeds, hop_key
from ugts_dist.index_type import index_type

_INTEGERS = (torch.int32, torch.int64)
_SCAN_BELOW = 32  # nodes of the graph per candidate below which marking and scanning is faster than sorting


class NeighborSampler(BaseSampler):
    """Samples in-neighbours hop by hop, without replacement; a drop-in for PyG's loaders.

    The frontier of a hop is *every* node reached so far. Each frontier node draws ``min(degree, fan_out[hop])`` new
    neighbours (the layered sampling of GraphSAGE, Hamilton et al. 2017, algorithm 2). So the output of a seed node does
    not depend on the other seeds of the batch, nor on how a batch is shared over ranks. A draw depends only on (seed,
    step, hop, node): it is the same on every rank, thread, worker and device. On a GPU where Triton works, kernels of
    ours draw (``DeviceSampler``), and elsewhere operations of torch, with the same bits.

    Args:
        indptr: [num_nodes + 1] int64.
        indices: [num_edges] int32 or int64; the in-neighbours of ``v`` are ``indices[indptr[v]:indptr[v +
            1]]``. Both arrays are kept without a copy, and sampling runs on their device.
        fan_out: neighbours that a node draws at each hop, the seeds' own hop first; -1 draws all.
        seed: the run seed.
        with_edges: whether samples have the positions of their edges, for graphs whose edges have weights or features.

    Raises InputError for a fan-out that is empty or has an entry which is neither -1 nor positive.
    """

    def __init__(
        self, indptr: Tensor, indices: Tensor, fan_out: Sequence[int], seed: int, with_edges: bool = False
    ) -> None:
        if len(fan_out) == 0 or any(fan != -1 and fan < 1 for fan in fan_out):
            raise InputError(
                f"batch.fan_out: {list(fan_out)} is not a fan-out; "
                "allowed: one number a hop, each 1 or more, or -1 for all neighbours"
            )
        self.indptr = indptr
        self.indices = indices
        self.fan_out = tuple(fan_out)
        self.seed = seed
        self.with_edges = with_edges
        self.num_nodes = indptr.numel() - 1
        self._threads = threading.local()
        self._on_device = self._kernels()

    def sample(self, step: int, nodes: Tensor) -> Sample:
        """Sample around the seed nodes, [num_seeds] distinct ids (else InputError).

        The edges of a hop are sorted by destination, then by the position of the neighbour in ``indices``.
        """
        if nodes.dim() != 1 or nodes.dtype not in _INTEGERS:
            raise InputError(f"seed nodes: {nodes.dtype} of shape {tuple(nodes.shape)}; allowed: a list of node ids")
        if self._on_device is not None and nodes.numel() and self.num_nodes:
            return self._on_device.queue(step, nodes).sample()
        device = self.indptr.device
        seeds = nodes.to(device, torch.int64)
        local = self._scratch(device)
        met = seeds.clamp(0, self.num_nodes - 1)
        hops = []
        try:
            positions = torch.arange(seeds.numel(), dtype=local.dtype, device=device)
            local[met] = positions
            # One synchronisation with the device finds both mistakes: ids that were clamped, and repeated ones.
            if not bool(((local[met] == positions) & (met == seeds)).all()):
                raise bad_seeds(seeds, self.num_nodes)
            for hop, fan in enumerate(self.fan_out):
                indptr, edge = self._draw(hop_key(self.seed, step, hop), fan, met)
                source = self.indices.index_select(0, edge)
                new = _new_nodes(source[local.index_select(0, source) < 0], local)
                count = met.numel()
                met = torch.cat([met, new])
                local[new] = torch.arange(count, met.numel(), dtype=local.dtype, device=device)
                index = index_type(self.num_nodes, edge.numel())
                edges = edge if self.with_edges else None
                hops.append(Hop(indptr.to(index), local.index_select(0, source).to(index), met.numel(), edges))
        finally:
            local[met] = -1
        return Sample(step, met, seeds.numel(), tuple(hops))

    def sample_from_nodes(self, index: NodeSamplerInput, **_: Any) -> SamplerOutput:
        """Sample for PyG's own loaders. They have no step, so a node always draws as in step 0."""
        out = self.sample(0, index.node).output()
        if index.input_id is not None:
            out.metadata = (index.input_id, index.time)
        return out

    def sample_from_edges(self, index: EdgeSamplerInput, neg_sampling: Any = None) -> SamplerOutput:
        """Sample around the ends of seed edges, for PyG's own loaders, as in step 0.

        The metadata are those of PyG's sampler: number of each seed edge, positions of its ends in `node`, its label
        and its time. Raises TypeError for negative sampling, as it would not be a function of seed and step.
        """
        if neg_sampling is not None:
            raise TypeError("NeighborSampler draws no negative edges; give them as seed edges with a label")
        ends, position = torch.stack([index.row, index.col]).unique(return_inverse=True)
        out = self.sample(0, ends).output()
        out.metadata = (index.input_id, position, index.label, index.time)
        return out

    def _draw(self, key: int, fan: int, frontier: Tensor) -> tuple[Tensor, Tensor]:
        """Draw for the frontier: the start of each node's draws, [len(frontier) + 1], and positions in ``indices``.

        Both int64. Raises InputError if ``indptr`` leads out of ``indices``, as in a file that changed since its check.
        """
        start, end = self.indptr[frontier], self.indptr[frontier + 1]
        degree = end - start
        outside = ((start < 0) | (degree < 0) | (end > self.indices.numel())).any()
        taken = degree if fan == -1 else degree.clamp(max=fan)
        indptr = row_pointers(taken)
        # Both are checked together, as each check makes the host wait.
        total, is_outside = torch.stack([indptr[-1], outside]).tolist()
        if is_outside:
            raise bad_indptr()
        edge = positions_of_rows(start, taken, indptr, total)
        if fan != -1:
            large = (degree > fan).nonzero().squeeze(1)
            chosen = _floyd(hashing.stream(key, frontier[large]), degree[large], fan)
            places = indptr[large, None] + torch.arange(fan, device=frontier.device)
            edge[places] = start[large, None] + chosen
        return indptr, edge

    def _scratch(self, device: torch.device) -> Tensor:
        """Node id -> position in the sample, -1 outside; one per thread, all -1 between samples."""
        scratch: Tensor | None = getattr(self._threads, "scratch", None)
        if scratch is None:
            scratch = torch.full((self.num_nodes,), -1, dtype=index_type(self.num_nodes), device=device)
            self._threads.scratch = scratch
        return scratch

    def _kernels(self) -> DeviceSampler | None:
        """The same sampler as kernels of ours, if they can be used."""
        device = self.indptr.device
        if device.type != "cuda" or max(self.fan_out) > MAX_FAN or problem_on(device):
            return None
        return DeviceSampler(self.indptr, self.indices, self.fan_out, self.seed, self.with_edges)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_threads", "_on_device")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._threads = threading.local()
        self._on_device = self._kernels()


def _new_nodes(candidates: Tensor, local: Tensor) -> Tensor:
    """The distinct candidates whose entries of ``local`` are -1: ascending int64."""
    if candidates.numel() * _SCAN_BELOW < local.numel():
        return torch.unique(candidates).long()
    local[candidates.long()] = -2
    return (local == -2).nonzero().squeeze(1)


def _floyd(start: Tensor, degree: Tensor, count: int) -> Tensor:
    """Choose ``count`` of ``degree`` positions per row, ascending: [rows, count] int64.

    Floyd's algorithm (Bentley and Floyd 1987, "A sample of brilliance"): draw j is one of the first
    ``degree - count + j + 1`` positions, or the last of these if that one is already taken. ``start`` is [rows] random
    bits, ``degree`` [rows] with every entry above ``count``.
    """
    chosen = torch.empty((count, degree.numel()), dtype=torch.int64, device=degree.device)
    for draw in range(count):
        last = degree - (count - draw)
        position = hashing.below(hashing.stream(start, draw), last + 1)
        repeated = (chosen[:draw] == position).any(dim=0)
        chosen[draw] = torch.where(repeated, last, position)
    return chosen.t().sort(dim=1).values
