"""The neighbour sampler on a GPU: kernels of ours, and one wait for all sizes of a sample.

A hop is queued before the sizes of the hop before it are known: its arrays are as large as they can be at most, its
kernels read the true sizes on the device, and views of those sizes are returned. New nodes are found by sorting a
hop's candidates. This costs the same for graphs of any size; a pass over all nodes would not.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from ugts_dist.errors import InputError
from ugts_dist.gpu_kernels import launch
from ugts_dist.graphs.sample import Hop, Sample, bad_indptr, bad_seeds, hop_key
from ugts_dist.index_type import index_type

MAX_FAN = 256  # neighbours that one row of registers holds
_REGISTERS = 1024  # for the draws of one program: as many nodes as they are enough for
_NUM_FLAGS = 3


class DeviceSampler:
    """Samples like ``NeighborSampler``, bit for bit, on a GPU. Needs Triton.

    Args:
        indptr: [num_nodes + 1] int64, on the GPU.
        indices: [num_edges] int32 or int64, on the GPU.
        fan_out: neighbours that a node draws at each hop, up to ``MAX_FAN``; -1 draws all.
        seed: the run seed.
        with_edges: whether samples have the positions of their edges.
    """

    _launching = threading.Lock()  # a kernel is compiled when it is first launched, by one thread

    def __init__(self, indptr: Tensor, indices: Tensor, fan_out: Sequence[int], seed: int, with_edges: bool) -> None:
        self.indptr = indptr
        self.indices = indices
        self.fan_out = tuple(fan_out)
        self.seed = seed
        self.with_edges = with_edges
        self.num_nodes = indptr.numel() - 1
        self._scratch: deque[Tensor] = deque()

    def queue(self, step: int, nodes: Tensor) -> QueuedSample:
        """Queue the kernels of a sample around distinct seed nodes, [at least 1], on the current stream.

        The host waits only for a hop that draws all neighbours, once: how many these are has no useful bound. Raises
        InputError if a wait shows that the seeds or the graph are wrong.
        """
        with self._launching, _current(self.indptr.device):
            launches = _Launches(self, self._take(), _to_device(nodes, self.indptr.device))
            for hop, fan in enumerate(self.fan_out):
                launches.hop(fan, hop_key(self.seed, step, hop))
            launches.leave()
            return QueuedSample(step, self, launches, _Readback(launches.state))

    def _take(self) -> Tensor:
        """Node id -> position in the sample; -1 for all. Each queued sample has its own."""
        try:
            return self._scratch.pop()
        except IndexError:
            return torch.full((self.num_nodes,), -1, dtype=index_type(self.num_nodes), device=self.indptr.device)

    def give_back(self, local: Tensor) -> None:
        """Keep the array of a sample for the next one, once it is all -1 again. After an error it is not kept."""
        self._scratch.append(local)

    def check(self, flags: Sequence[int], seeds: Tensor) -> None:
        """Raise InputError for what the kernels found to be wrong."""
        from ugts_dist.graphs import sampling_kernels as kernels

        if flags[kernels.BAD_SEEDS.value]:
            raise bad_seeds(seeds, self.num_nodes)
        if flags[kernels.BAD_INDPTR.value]:
            raise bad_indptr()
        if flags[kernels.BAD_INDICES.value]:
            raise InputError("indices: lead out of the nodes; the files of the graph changed while they were used")


@dataclass(frozen=True, eq=False)
class QueuedSample:
    """A sample whose kernels are queued, and the sizes of which are on their way to the host."""

    step: int
    sampler: DeviceSampler
    launches: _Launches
    state: _Readback

    def sample(self) -> Sample:
        """Wait for the sizes. Raises InputError for wrong seeds, or a graph that has changed. To be called once."""
        state = self.state.values()
        self.sampler.give_back(self.launches.local)
        self.sampler.check(state, self.launches.seeds)
        sizes, totals = state[_NUM_FLAGS::2], state[_NUM_FLAGS + 1 :: 2]
        hops = []
        for hop, arrays in enumerate(self.launches.hops):
            index = index_type(self.sampler.num_nodes, totals[hop])
            edges = None if arrays.edges is None else arrays.edges[: totals[hop]]
            indptr = arrays.indptr[: sizes[hop] + 1].to(index)
            hops.append(Hop(indptr, arrays.sources[: totals[hop]].to(index), sizes[hop + 1], edges))
        return Sample(self.step, self.launches.nodes[: sizes[-1]], sizes[0], tuple(hops))


@dataclass(frozen=True, eq=False)
class _HopArrays:
    """What the kernels write for a hop, with room for as many edges as there can be."""

    indptr: Tensor
    sources: Tensor
    edges: Tensor | None


class _Launches:
    """The kernels of one sample, hop after hop.

    Attributes:
        seeds: int64 ids, on the device.
        nodes: int64 ids of the nodes met so far, with room for as many as there can be.
        state: the true sizes and the flags, see `sampling_kernels`.
        local: node id -> position in `nodes`.
        hops: the hops that are queued.
    """

    def __init__(self, sampler: DeviceSampler, local: Tensor, seeds: Tensor) -> None:
        from ugts_dist.graphs import sampling_kernels

        self._kernels = sampling_kernels
        self._sampler = sampler
        self.local = local
        self.seeds = seeds
        self.nodes = torch.empty_like(seeds)
        self.state = torch.zeros(_NUM_FLAGS + 1 + 2 * len(sampler.fan_out), dtype=torch.int64, device=seeds.device)
        self.hops: list[_HopArrays] = []
        count, num_nodes = seeds.numel(), sampler.num_nodes
        launch(self._kernels.enter, count, seeds, self.nodes, local, self.state, count, num_nodes, self._met)

    @property
    def _met(self) -> int:
        """Where `state` has the number of nodes before the next hop."""
        return _NUM_FLAGS + 2 * len(self.hops)

    def hop(self, fan: int, key: int) -> None:
        """Queue the next hop."""
        arrays, candidates = self._all_neighbors() if fan == -1 else self._drawn_neighbors(fan, key)
        self._append(candidates)
        size, num_rows = arrays.sources.numel(), arrays.indptr.numel() - 1
        inputs = (arrays.sources, self.local, arrays.indptr, self.state)
        launch(self._kernels.relabel, size, *inputs, self._met, num_rows, size)
        self.hops.append(arrays)

    def leave(self) -> None:
        """Queue that `local` is set back."""
        count = self.nodes.numel()
        launch(self._kernels.leave, count, self.nodes, self.local, self.state, self._met, count)

    def _drawn_neighbors(self, fan: int, key: int) -> tuple[_HopArrays, Tensor]:
        """Up to `fan` neighbours of each node, and the ids among which the new nodes are."""
        sampler, num_rows = self._sampler, self.nodes.numel()
        indptr = self._row_pointers(fan, index_type(num_rows * fan))
        arrays, candidates = self._room(indptr, num_rows * fan)
        width = 1 << (fan - 1).bit_length()
        launch(
            self._kernels.draw,
            num_rows,
            *self._inputs(arrays, candidates),
            key,
            self._met,
            num_rows,
            sampler.num_nodes,
            sampler.indices.numel(),
            FAN=fan,
            WIDTH=width,
            WITH_EDGES=sampler.with_edges,
            block=_REGISTERS // width,
        )
        return arrays, candidates

    def _all_neighbors(self) -> tuple[_HopArrays, Tensor]:
        """All neighbours of each node, and the ids among which the new nodes are. Waits for their number."""
        indptr = self._row_pointers(-1, torch.int64)
        *state, total = _Readback(torch.cat([self.state, indptr[-1:]])).values()
        self._sampler.check(state, self.seeds)
        num_rows = state[self._met]
        self.nodes = self.nodes[:num_rows]
        arrays, candidates = self._room(indptr[: num_rows + 1], max(1, total))
        launch(
            self._kernels.expand,
            candidates.numel(),
            *self._inputs(arrays, candidates),
            num_rows,
            candidates.numel(),
            self._sampler.num_nodes,
            ROUNDS=num_rows.bit_length(),
            WITH_EDGES=self._sampler.with_edges,
        )
        return arrays, candidates

    def _row_pointers(self, fan: int, dtype: torch.dtype) -> Tensor:
        """The start of each node's edges, `[len(nodes) + 1]`. Nodes that are not there have none."""
        sampler, num_rows = self._sampler, self.nodes.numel()
        counts = torch.empty(num_rows + 1, dtype=dtype, device=self.nodes.device)
        inputs = (self.nodes, sampler.indptr, counts, self.state)
        launch(self._kernels.count, num_rows, *inputs, self._met, num_rows, sampler.indices.numel(), FAN=fan)
        return counts.cumsum(0, dtype=dtype)

    def _room(self, indptr: Tensor, size: int) -> tuple[_HopArrays, Tensor]:
        """Arrays for the edges of a hop, and for the ids of nodes that may be new."""
        sampler, device = self._sampler, self.nodes.device
        sources = torch.empty(size, dtype=index_type(sampler.num_nodes, size), device=device)
        edges = torch.empty(size, dtype=torch.int64, device=device) if sampler.with_edges else None
        return _HopArrays(indptr, sources, edges), torch.empty(size, dtype=self.local.dtype, device=device)

    def _inputs(self, arrays: _HopArrays, candidates: Tensor) -> tuple[Tensor, ...]:
        """The arrays that a kernel for a hop's neighbours reads and writes. Without edges it ignores their array."""
        graph = (self._sampler.indptr, self._sampler.indices)
        edges = arrays.sources if arrays.edges is None else arrays.edges
        return (self.nodes, *graph, self.local, arrays.indptr, arrays.sources, edges, candidates, self.state)

    def _append(self, candidates: Tensor) -> None:
        """Append the distinct candidates to the nodes, ascending. The id `num_nodes` stands for no candidate."""
        size, num_met, num_nodes = candidates.numel(), self.nodes.numel(), self._sampler.num_nodes
        candidates = candidates.sort().values
        marks = torch.empty_like(candidates)
        launch(self._kernels.mark_first, size, candidates, marks, size, num_nodes)
        ranks = marks.cumsum(0, dtype=marks.dtype)
        capacity = min(num_met + size, max(num_met, num_nodes))
        self.nodes = torch.cat([self.nodes, self.nodes.new_empty(capacity - num_met)])
        inputs = (candidates, ranks, self.nodes, self.local, self.state)
        launch(self._kernels.append, size, *inputs, self._met, size, capacity)


class _Readback:
    """Numbers of a device on their way to the host."""

    def __init__(self, numbers: Tensor) -> None:
        self._numbers, self._arrived = numbers, None
        if numbers.is_cuda:
            self._numbers = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
            self._numbers.copy_(numbers, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def values(self) -> list[int]:
        """Wait until they are there."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._numbers.tolist()


def _to_device(nodes: Tensor, device: torch.device) -> Tensor:
    """The ids as int64 on the device. From the host they are sent without waiting for the device's queue."""
    if nodes.device.type == "cpu" and device.type == "cuda":
        return nodes.long().pin_memory().to(device, non_blocking=True)
    return nodes.to(device, torch.int64).contiguous()


def _current(device: torch.device) -> AbstractContextManager[object]:
    """Launch on this GPU, whichever is the thread's current one."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
