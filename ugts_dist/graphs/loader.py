"""Batches of sampled subgraphs: which seeds a rank has at a step, and PyG's loader around the sampler."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Sampler
from torch_geometric.data import Data
from torch_geometric.loader import NeighborLoader
from torch_geometric.sampler import SamplerOutput

from ugts_dist import hashing
from ugts_dist.errors import InputError
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.sampling import NeighborSampler

_DOMAIN = 0x4F52444552  # sets the order's hashes apart from those of neighbours and splits


@dataclass(frozen=True, eq=False)
class SeedPlan:
    """Which seed nodes a rank has at each global step: a pure function, with nothing to save or restore.

    In an epoch every node is a seed once. The number of steps, and the seeds of a step over all ranks, do not
    depend on the world size; no rank is ever without a seed. Steps count from 0 through all epochs.
    """

    nodes: Tensor  # [num_nodes] int64, the training nodes
    batch_size: int  # seeds of a step over all ranks, at most
    seed: int
    rank: int = 0
    world_size: int = 1
    # The order of the epoch in use: a cache of a pure function, so that threads may race for it.
    _orders: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        count = self.nodes.numel()
        if self.world_size < 1 or not 0 <= self.rank < self.world_size:
            raise InputError(f"rank {self.rank} of {self.world_size}; allowed: 0 to world size - 1")
        if self.nodes.dim() != 1 or count == 0:
            raise InputError(f"training nodes: shape {tuple(self.nodes.shape)}; allowed: a list of one or more")
        if self.batch_size < max(1, self.world_size):
            raise InputError(
                f"batch.size: {self.batch_size} is the number of seed nodes a step over all ranks; "
                f"allowed: {self.world_size} (the world size) or more"
            )
        if count // self.steps_per_epoch < self.world_size:
            raise InputError(
                f"batch.size: {self.batch_size} cuts {count} training nodes into {self.steps_per_epoch} "
                f"steps of {count // self.steps_per_epoch} or more, too few for {self.world_size} ranks; "
                "allowed: a size that leaves each rank a seed at every step"
            )

    @property
    def steps_per_epoch(self) -> int:
        """The same on every rank."""
        return -(-self.nodes.numel() // self.batch_size)

    def step_size(self, step: int) -> int:
        """Seeds of a global step over all ranks: what a sum of losses is divided by."""
        begin, end = self._bounds(step)
        return end - begin

    def seeds(self, step: int) -> Tensor:
        """This rank's seeds at a global step, [at least 1] int64."""
        begin, end = self._bounds(step)
        first, last = _share(end - begin, self.rank, self.world_size)
        return self._order(step // self.steps_per_epoch)[begin + first : begin + last]

    def _bounds(self, step: int) -> tuple[int, int]:
        return _share(self.nodes.numel(), step % self.steps_per_epoch, self.steps_per_epoch)

    def _order(self, epoch: int) -> Tensor:
        order = self._orders.get(epoch)
        if order is None:
            nodes = self.nodes.sort().values
            hashes = hashing.stream(hashing.key(_DOMAIN, self.seed, epoch), nodes)
            order = nodes[hashes.argsort(stable=True)]
            self._orders.clear()
            self._orders[epoch] = order
        return order


class SeedLoader(NeighborLoader):
    """PyG's NeighborLoader over global steps instead of nodes: a batch is one rank's share of one step.

    Batches depend on the plan, the sampler and the step alone, so not on ``num_workers``. Each is a ``Data``
    with ``x``, ``y``, ``degree`` (in the whole graph) and ``n_id`` of the sampled nodes, seeds first;
    ``edge_index``, ``num_sampled_nodes`` and ``num_sampled_edges`` as from the sampler; ``batch_size``, this
    rank's number of seeds; and ``step``.

    Args:
        data: ``graph_data(graph)``.
        plan: which seeds this rank has.
        sampler: draws their neighbours.
        epochs: how many epochs may be asked for.
        filter_per_worker: whether workers look the features up (they then travel through shared memory), or
            the main process does.
        **kwargs: of torch's DataLoader, e.g. ``num_workers``, ``persistent_workers``, ``pin_memory``.
    """

    def __init__(
        self,
        data: Data,
        plan: SeedPlan,
        sampler: NeighborSampler,
        epochs: int,
        filter_per_worker: bool = False,
        **kwargs: Any,
    ) -> None:
        self.plan = plan
        self.epochs = epochs
        self._steps = _Steps(range(plan.steps_per_epoch))
        super().__init__(
            data,
            num_neighbors=list(sampler.fan_out),
            neighbor_sampler=sampler,
            # The items of the loader's dataset: workers get step numbers and need no other state.
            input_nodes=torch.arange(epochs * plan.steps_per_epoch),
            filter_per_worker=filter_per_worker,
            batch_size=None,
            sampler=self._steps,
            **kwargs,
        )

    def epoch(self, number: int, first_step: int = 0) -> Iterator[Data]:
        """The batches of one epoch, from its ``first_step``-th step on (to go on where a run stopped)."""
        per_epoch = self.plan.steps_per_epoch
        if not 0 <= number < self.epochs:
            raise InputError(f"epoch {number} is not planned; allowed: 0 to {self.epochs - 1}")
        if not 0 <= first_step <= per_epoch:
            raise InputError(f"first step {first_step} is not in an epoch; allowed: 0 to {per_epoch}")
        self._steps.steps = range(number * per_epoch + first_step, (number + 1) * per_epoch)
        batches: Iterator[Data] = iter(self)
        return batches

    def collate_fn(self, step: int) -> SamplerOutput | Data:
        """Sample this rank's share of a step; called in a worker where there are any."""
        out = self.node_sampler.sample(step, self.plan.seeds(step))
        out.metadata = (*out.metadata, step)
        return self.filter_fn(out) if self.filter_per_worker else out

    def filter_fn(self, out: SamplerOutput) -> Data:
        """Look up features, labels and degrees of the sampled nodes."""
        batch = super().filter_fn(out)
        batch.step = out.metadata[2]
        return batch


def graph_data(graph: Graph) -> Data:
    """The node arrays of a graph as PyG's Data: ``x``, ``y`` and ``degree``, not copied.

    ``edge_index`` is empty: the edges are the sampler's, and 16 bytes each here would be a second copy. It is
    there because PyG gives a batch its edges only if the whole has some field for them.
    """
    edge_index = torch.empty((2, 0), dtype=torch.int64, device=graph.x.device)
    return Data(x=graph.x, y=graph.y, degree=graph.degree, edge_index=edge_index)


class _Steps(Sampler[int]):
    """The global steps that the next iterator runs through."""

    def __init__(self, steps: range) -> None:
        self.steps = steps

    def __iter__(self) -> Iterator[int]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)


def _share(count: int, part: int, parts: int) -> tuple[int, int]:
    """Bounds of one of ``parts`` contiguous pieces of ``count`` things, whose sizes differ by one at most."""
    return part * count // parts, (part + 1) * count // parts
