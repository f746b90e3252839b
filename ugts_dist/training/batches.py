"""What the network sees in one step: the whole graph, or a sampled part of it; the same type for both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor
from torch_geometric.data import Data

from ugts_dist.config import Config
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.loader import SeedLoader, SeedPlan, graph_data
from ugts_dist.graphs.sampling import NeighborSampler
from ugts_dist.models import Block, Features, SparseFeatures
from ugts_dist.training.ranks import Ranks

_SPARSE_BELOW = 0.1  # density of the features under which products with a sparse matrix are faster


@dataclass
class Batch:
    """One step's input on this rank.

    Attributes:
        step: counted through all epochs.
        nodes: ids of the input layer's source nodes.
        x: their features.
        blocks: one a layer, the input layer's first.
        rows: which of the output rows are this rank's seed nodes, `[num_seeds]`.
        y: labels of the seed nodes, `[num_seeds]`.
        num_seeds_of_all: seed nodes of this step on all ranks together, by which the loss is divided.
    """

    step: int
    nodes: Tensor
    x: Features
    blocks: list[Block]
    rows: Tensor
    y: Tensor
    num_seeds_of_all: int


class Batches(Protocol):
    """The batches of a run on this rank; as many in each epoch on every rank."""

    steps_per_epoch: int

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of one epoch."""
        ...

    def calibration_batch(self) -> Batch:
        """A batch that is the same on every rank and for every world size."""
        ...


def make_batches(graph: Graph, config: Config, ranks: Ranks) -> Batches:
    """The batches that the configuration asks for."""
    if config.batch.size == 0:
        return FullBatch(graph, config.model.depth, ranks)
    return SampledBatches(graph, config, ranks)


def is_sparse(graph: Graph) -> bool:
    """Whether most features are zero: a property of the graph, so that every rank and batch decides alike."""
    return float((graph.x != 0).float().mean()) < _SPARSE_BELOW


def full_features(graph: Graph, device: torch.device) -> Features:
    """All nodes' features, as a sparse matrix where most are zero."""
    x = graph.x.to(device)
    return SparseFeatures.of(x) if is_sparse(graph) else x


def graph_block(graph: Graph, device: torch.device, start: int = 0, stop: int | None = None) -> Block:
    """The full in-neighbourhoods of nodes `start` to `stop`, whose sources are all nodes."""
    stop = graph.num_nodes if stop is None else stop
    first, last = int(graph.indptr[start]), int(graph.indptr[stop])
    integer = _index_type(last - first + graph.num_nodes)
    return Block(
        (graph.indptr[start : stop + 1] - first).to(device, integer),
        graph.indices[first:last].to(device, integer),
        graph.degree.to(device),
        start,
    )


class FullBatch:
    """One step an epoch; the ranks share the training nodes.

    A rank computes what the logits of its training nodes depend on, exactly, and nothing else: near the output that
    is a small part of the graph.
    """

    steps_per_epoch = 1

    def __init__(self, graph: Graph, depth: int, ranks: Ranks) -> None:
        self._graph, self._depth, self._device = graph, depth, ranks.device
        start, stop = ranks.share(graph.train.numel())
        seeds = graph.train[start:stop]
        out = NeighborSampler(graph.indptr, graph.indices, [-1] * depth, seed=0).sample(0, seeds)
        x = graph.x[out.node].to(ranks.device)
        data = Data(
            edge_index=torch.stack([out.row, out.col]),
            degree=graph.degree[out.node],
            num_sampled_nodes=out.num_sampled_nodes,
            num_sampled_edges=out.num_sampled_edges,
        )
        self._batch = Batch(
            0,
            out.node.to(ranks.device),
            SparseFeatures.of(x) if is_sparse(graph) else x,
            _shared([block_to(block, ranks.device) for block in sampled_blocks(data)]),
            torch.arange(seeds.numel(), device=ranks.device),
            graph.y[seeds].to(ranks.device),
            graph.train.numel(),
        )

    def epoch(self, number: int) -> Iterator[Batch]:
        yield replace(self._batch, step=number)

    def calibration_batch(self) -> Batch:
        """The whole graph: the scale of a layer's outputs is that of all nodes."""
        nodes = torch.arange(self._graph.num_nodes, device=self._device)
        block = graph_block(self._graph, self._device)
        x = full_features(self._graph, self._device)
        return Batch(0, nodes, x, [block] * self._depth, nodes, self._graph.y.to(self._device), self._graph.num_nodes)


class SampledBatches:
    """Mini-batches of sampled neighbourhoods; what is drawn depends on seed, step, hop and node alone."""

    def __init__(self, graph: Graph, config: Config, ranks: Ranks) -> None:
        options, seed = config.batch, config.run.seed
        self._device = ranks.device
        self._data = graph_data(graph)
        self._sampler = NeighborSampler(graph.indptr, graph.indices, options.fan_out, seed)
        self._plan = SeedPlan(graph.train, options.size, seed, ranks.rank, ranks.world_size)
        self._loader = SeedLoader(
            self._data,
            self._plan,
            self._sampler,
            config.run.epochs,
            num_workers=options.workers,
            persistent_workers=options.workers > 0,
        )
        self.steps_per_epoch = self._plan.steps_per_epoch

    def epoch(self, number: int) -> Iterator[Batch]:
        for data in self._loader.epoch(number):
            yield self._batch(data, self._plan)

    def calibration_batch(self) -> Batch:
        whole = replace(self._plan, rank=0, world_size=1)
        return self._batch(next(SeedLoader(self._data, whole, self._sampler, epochs=1).epoch(0)), whole)

    def _batch(self, data: Data, plan: SeedPlan) -> Batch:
        num_seeds = int(data.batch_size)
        return Batch(
            int(data.step),
            data.n_id.to(self._device),
            data.x.to(self._device),
            [block_to(block, self._device) for block in sampled_blocks(data)],
            torch.arange(num_seeds, device=self._device),
            data.y[:num_seeds].to(self._device),
            plan.step_size(int(data.step)),
        )


def sampled_blocks(data: Data) -> list[Block]:
    """One block a layer from a sampled batch: the last hop's edges feed the first layer.

    Each layer's destinations are the nodes that the next layer needs, and no others.
    """
    nodes = torch.tensor(data.num_sampled_nodes).cumsum(0).tolist()
    edges = [0, *torch.tensor(data.num_sampled_edges).cumsum(0).tolist()]
    blocks = []
    for hop in reversed(range(len(edges) - 1)):
        source, destination = data.edge_index[:, edges[hop] : edges[hop + 1]]
        integer = _index_type(source.numel() + nodes[hop + 1])
        indptr = torch.zeros(nodes[hop] + 1, dtype=integer)
        torch.cumsum(torch.bincount(destination, minlength=nodes[hop]), 0, out=indptr[1:])
        blocks.append(Block(indptr, source.to(integer), data.degree[: nodes[hop + 1]]))
    return blocks


def _index_type(count: int) -> torch.dtype:
    """The smaller integer type that can count edges and self loops."""
    return torch.int32 if count < 2**31 else torch.int64


def _shared(blocks: list[Block]) -> list[Block]:
    """One object for equal blocks: those of the layers whose sources are already all that can be reached."""
    shared = list(blocks)
    for k in reversed(range(len(blocks) - 1)):
        if blocks[k].num_src == blocks[k + 1].num_dst:
            shared[k] = shared[k + 1]
    return shared


def block_to(block: Block, device: torch.device) -> Block:
    """The block on a device; itself where it is there already."""
    if block.indptr.device == device:
        return block
    return Block(block.indptr.to(device), block.indices.to(device), block.degree.to(device), block.start)
