"""Batches of sampled subgraphs: the seeds of a rank at a step, and PyG's loader around the sampler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Sampler
from torch_geometric.data import Data
from torch_geometric.loader import NeighborLoader

from ugts_dist import hashing
from ugts_dist.errors import InputError
from ugts_dist.graphs.ahead import ahead
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.sample import Sample
from ugts_dist.graphs.sample import Sampler as NodeSampler

_DOMAIN = 0x4F52444552  # separates the order's hashes from those of neighbours and splits


@dataclass(frozen=True, eq=False)
class SeedPlan:
    """The seed nodes of a rank at each global step: a pure function, without state to save.

    In an epoch every node is a seed once. The number of steps, and the seeds of a step over all ranks, do not depend on
    the world size. No rank is ever without a seed. Steps count from 0 over all epochs.
    """

    nodes: Tensor  # [num_nodes] int64, the training nodes
    batch_size: int  # largest number of seeds of a step over all ranks
    seed: int
    rank: int = 0
    world_size: int = 1
    items: str = "nodes"  # what the ids are, for messages
    # The order of the current epoch: a cache of a pure function, so that races between threads are harmless.
    _orders: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        count = self.nodes.numel()
        if self.world_size < 1 or not 0 <= self.rank < self.world_size:
            raise InputError(f"rank {self.rank} of {self.world_size}; allowed: 0 to world size - 1")
        if self.nodes.dim() != 1 or count == 0:
            raise InputError(f"training {self.items}: shape {tuple(self.nodes.shape)}; allowed: a list of one or more")
        if self.batch_size < max(1, self.world_size):
            raise InputError(
                f"batch.size: {self.batch_size} is the number of seed {self.items} a step over all ranks; "
                f"allowed: {self.world_size} (the world size) or more"
            )
        if count // self.steps_per_epoch < self.world_size:
            raise InputError(
                f"batch.size: {self.batch_size} cuts {count} training {self.items} into {self.steps_per_epoch} "
                f"steps of {count // self.steps_per_epoch} or more, too few for {self.world_size} ranks; "
                "allowed: a size that leaves each rank a seed at every step"
            )

    @property
    def steps_per_epoch(self) -> int:
        """The same on every rank."""
        return -(-self.nodes.numel() // self.batch_size)

    def step_size(self, step: int) -> int:
        """Number of seeds of a global step over all ranks, by which a sum of losses is divided."""
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


class MicroBatch(NamedTuple):
    """One of the equal parts of a rank's seeds at a global step, which is sampled at once."""

    step: int
    number: int


class SeedLoader(NeighborLoader):
    """PyG's NeighborLoader over global steps instead of nodes: a batch is one rank's share of one step.

    Batches depend only on the plan, the sampler and the step, not on the threads that sample ahead. Each batch is a
    ``Data`` with the node arrays of ``data`` (``x``, ``y``, ``degree``) for the sampled nodes; ``n_id``, their ids,
    seeds first; ``hops``, from the sampler; ``edge_index``, ``num_sampled_nodes`` and ``num_sampled_edges`` as in PyG;
    ``batch_size``, its number of seeds; ``step``, and ``micro_batch``, its number within the step.

    Args:
        data: ``graph_data(graph)``, or fewer of its node arrays.
        plan: the seeds of this rank.
        sampler: draws their neighbours.
        epochs: largest number of epochs.
        micro_batches: batches that a step is cut into, to be computed one after the other.
        threads: number of threads that sample ahead, 0 for none. At most two batches per thread wait.
        finish: function that the threads apply to each batch.
        scope: context in which a thread makes a batch.

    Raises: InputError if a rank has fewer seeds in some step than micro-batches.
    """

    def __init__(
        self,
        data: Data,
        plan: SeedPlan,
        sampler: NodeSampler,
        epochs: int,
        micro_batches: int = 1,
        threads: int = 0,
        finish: Callable[[Data], Any] | None = None,
        scope: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        fewest = plan.nodes.numel() // plan.steps_per_epoch // plan.world_size
        if micro_batches > fewest:
            raise InputError(
                f"batch.micro_batches is {micro_batches}, allowed is 1 to {fewest}, the seed nodes of a rank in a step"
            )
        self.plan = plan
        self.epochs = epochs
        self.micro_batches = micro_batches
        self.threads = threads
        self._finish = finish
        self._scope = scope
        self._steps = _Steps(range(plan.steps_per_epoch))
        super().__init__(
            data,
            num_neighbors=list(sampler.fan_out),
            neighbor_sampler=sampler,
            input_nodes=torch.arange(epochs * plan.steps_per_epoch),
            filter_per_worker=False,
            batch_size=None,
            sampler=self._steps,
        )

    def epoch(self, number: int, first_step: int = 0) -> Iterator[Any]:
        """The batches of one epoch from step ``first_step`` on, which is above 0 in a resumed run."""
        per_epoch = self.plan.steps_per_epoch
        if not 0 <= number < self.epochs:
            raise InputError(f"epoch {number} is not planned; allowed: 0 to {self.epochs - 1}")
        if not 0 <= first_step <= per_epoch:
            raise InputError(f"first step {first_step} is not in an epoch; allowed: 0 to {per_epoch}")
        self._steps.steps = range(number * per_epoch + first_step, (number + 1) * per_epoch)
        return iter(self)

    def __iter__(self) -> Iterator[Any]:
        items = [MicroBatch(step, number) for step in self._steps for number in range(self.micro_batches)]
        return ahead(self._produce, items, self.threads)

    def _produce(self, item: MicroBatch) -> Any:
        with self._scope():
            return self.filter_fn(self.collate_fn(item))

    def collate_fn(self, item: MicroBatch) -> tuple[MicroBatch, Sample]:
        """Sample around the seeds of one micro-batch."""
        seeds = self.plan.seeds(item.step)
        first, last = _share(seeds.numel(), item.number, self.micro_batches)
        return item, self.node_sampler.sample(item.step, seeds[first:last])

    def filter_fn(self, sampled: tuple[MicroBatch, Sample]) -> Any:
        """Look up features, labels and degrees of the sampled nodes."""
        item, sample = sampled
        batch = super().filter_fn(sample.output())
        batch.step, batch.micro_batch, batch.hops = item.step, item.number, sample.hops
        return batch if self._finish is None else self._finish(batch)


def graph_data(graph: Graph) -> Data:
    """The node arrays of a graph as PyG's Data: ``x``, ``y`` and ``degree``, not copied.

    ``edge_index`` is empty: the sampler has the edges, and a second copy would take 16 bytes per edge. The field exists
    because PyG gives a batch its edges only if the whole graph has a field for them.
    """
    edge_index = torch.empty((2, 0), dtype=torch.int64, device=graph.x.device)
    return Data(x=graph.x, y=graph.y, degree=graph.degree, edge_index=edge_index)


class _Steps(Sampler[int]):
    """The global steps of the next iterator."""

    def __init__(self, steps: range) -> None:
        self.steps = steps

    def __iter__(self) -> Iterator[int]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)


def _share(count: int, part: int, parts: int) -> tuple[int, int]:
    """Bounds of one of ``parts`` contiguous parts of ``count`` items, whose sizes differ by at most one."""
    return part * count // parts, (part + 1) * count // parts
