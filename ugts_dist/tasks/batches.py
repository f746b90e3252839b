"""The input of one step: the whole graph or a sampled part of it, as the same type."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch_geometric.data import Data

from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.distributed.row_exchange import RowExchange
from ugts_dist.evaluation.feature_tables import FeatureTables
from ugts_dist.evaluation.whole_graph import graph_block
from ugts_dist.graphs import backends
from ugts_dist.graphs.feature_cache import FeatureCache
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.loader import SeedLoader, SeedPlan
from ugts_dist.graphs.sample import Hop, Sampler
from ugts_dist.graphs.sampling import NeighborSampler
from ugts_dist.models import (
    Block,
    Features,
    GraphDropout,
    Hops,
    Input,
    SparseFeatures,
    input_tensors,
    prepare,
)
from ugts_dist.tasks.blocks import hop_block, hop_blocks, merged
from ugts_dist.tasks.cached_batches import cached
from ugts_dist.tasks.input_rows import InputRows
from ugts_dist.tasks.placement import block_to, own_stream, placed, spare_threads, used_on_this_stream
from ugts_dist.tasks.sharded import fetched

_CALIBRATION_SEEDS = 256


@dataclass
class Batch:
    """One step's input on this rank.

    Attributes:
        step: number of the step, counted over all epochs.
        nodes: ids of the input layer's source nodes.
        x: their features.
        blocks: one per layer, the input layer's first; that has none if `x` is `Aggregated`.
        rows: the output rows of this rank's seed nodes, `[num_seeds]`.
        y: labels of the seed nodes, `[num_seeds]`.
        num_seeds_of_all: seed nodes of this step on all ranks, by which the loss is divided.
        is_last: whether the step ends with this batch. A step has several if its seeds are cut into micro-batches.
        seeds_only: whether the output has the rows of the seed nodes and no other, in their order.
    """

    step: int
    nodes: Tensor
    x: Input
    blocks: list[Block]
    rows: Tensor
    y: Tensor
    num_seeds_of_all: int
    is_last: bool = True
    seeds_only: bool = False

    def of_seeds(self, logits: Tensor) -> Tensor:
        """The outputs of the seed nodes, `[num_seeds, num_classes]`."""
        return logits if self.seeds_only else logits[self.rows]

    def tensors(self) -> Iterator[Tensor]:
        """All tensors of the batch, for the management of their memory."""
        yield from (self.nodes, self.rows, self.y)
        yield from input_tensors(self.x)
        for block in self.blocks:
            yield from block.tensors()
        if isinstance(self.blocks, Hops):
            yield from self.blocks.tensors()


def make_batches(
    graph: Graph, config: Config, ranks: Ranks, features: FeatureTables | None = None
) -> FullBatch | SampledBatches:
    """The batches for a configuration; `features` are those of the run, if it has others that read them. Collective."""
    features = features or FeatureTables(graph)
    if config.batch.size == 0:
        return FullBatch(graph, config, ranks, features)
    return SampledBatches(graph, config, ranks, features)


class FullBatch:
    """One step per epoch; the ranks share the training nodes.

    A rank computes exactly what the logits of its training nodes depend on. Near the output that is a small part of the
    graph. It is the whole graph, in every layer and on every rank, for statistics over all nodes (PairNorm), for
    degrees after graph dropout, and for own networks.
    """

    steps_per_epoch = 1

    def __init__(self, graph: Graph, config: Config, ranks: Ranks, features: FeatureTables) -> None:
        self._graph, self._config, self._ranks, self._features = graph, config, ranks, features
        self._device = ranks.device
        self._dropout = GraphDropout.of(config.model, config.run.seed, "counted")
        start, stop = ranks.share(graph.train.numel())
        seeds = graph.train[start:stop]
        self._is_own = bool(config.model.factory)
        everything = config.model.norm == "pairnorm" or self._dropout.drops or self._is_own
        self.repeats = not self._dropout.drops
        self._batch = self._whole(seeds) if everything else self._receptive_field(seeds)

    def epoch(self, number: int, first_step: int = 0) -> Iterator[Batch]:
        if first_step == 0:
            batch = self._batch
            blocks = batch.blocks if self._is_own else self._dropout(batch.blocks, batch.nodes, number)
            yield replace(batch, step=number, blocks=blocks)

    def calibration_batch(self) -> Batch:
        """The whole graph, since the scale of a layer's outputs is that of all nodes."""
        nodes = torch.arange(self._graph.num_nodes, device=self._device)
        x, blocks = whole_input(self._graph, self._config, self._ranks, self._features)
        return Batch(0, nodes, x, blocks, nodes, self._graph.y.to(self._device), self._graph.num_nodes)

    def _whole(self, seeds: Tensor) -> Batch:
        """All nodes in every layer, some of which are the seed nodes."""
        rows, y = seeds.to(self._device), self._graph.y[seeds].to(self._device)
        return replace(self.calibration_batch(), rows=rows, y=y, num_seeds_of_all=self._graph.train.numel())

    def _receptive_field(self, seeds: Tensor) -> Batch:
        """In every layer the nodes that the seed nodes' logits depend on."""
        graph, device = self._graph, self._device
        sampler = NeighborSampler(graph.indptr, graph.indices, [-1] * self._config.model.depth, 0, graph.has_edge_data)
        sample = sampler.sample(0, seeds)
        x = graph.x[sample.nodes].to(device).float()
        blocks = hop_blocks(graph, sample)
        return Batch(
            0,
            sample.nodes.to(device),
            SparseFeatures.of(x) if self._features.is_sparse else x,
            merged([block_to(block, device) for block in blocks]),
            torch.arange(seeds.numel(), device=device),
            graph.y[seeds].to(device),
            graph.train.numel(),
            seeds_only=True,
        )


def whole_input(graph: Graph, config: Config, ranks: Ranks, features: FeatureTables) -> tuple[Features, list[Block]]:
    """The features of all nodes, and all edges as the block of every layer; in the form that the network reads."""
    blocks = [graph_block(graph, ranks.device)] * config.model.depth
    if config.model.factory:
        return features.dense(ranks.device).float(), Hops(blocks)
    x = features.on(ranks.device, ranks, config.run.spill)
    return x.float() if isinstance(x, Tensor) else x, blocks


class SampledBatches:
    """Mini-batches of sampled neighbourhoods. The sample depends only on seed, step, hop and node."""

    repeats = False

    def __init__(self, graph: Graph, config: Config, ranks: Ranks, features: FeatureTables) -> None:
        graph = placed(graph, config, ranks, features)
        self._config, self._device = config, ranks.device
        self._inputs = InputRows(graph, config, ranks, features)
        self._graph = graph
        self._data = Data(y=graph.y, degree=graph.degree, num_nodes=graph.num_nodes)
        if graph.weighted_degree is not None:
            self._data.weighted_degree = graph.weighted_degree
        self._sampler = make_sampler(graph, config)
        self._dropout = sampled_dropout(config)
        self._plan = SeedPlan(graph.train, config.batch.size, config.run.seed, ranks.rank, ranks.world_size)
        self._loader = SeedLoader(
            self._data,
            self._plan,
            self._sampler,
            config.run.epochs,
            config.batch.micro_batches,
            spare_threads(config, ranks),
            self._thinned_batch if self.cache is None and self.exchange is None else None,
            partial(own_stream, ranks.device),
        )
        self.steps_per_epoch = self._plan.steps_per_epoch

    def epoch(self, number: int, first_step: int = 0) -> Iterator[Batch]:
        batches = self._loader.epoch(number, first_step)
        if self.cache is not None:
            batches = cached(batches, self.cache, _node_ids, self._cached_batch, self._config.run.evaluates(number))
        elif self.exchange is not None:
            batches = fetched(batches, self.exchange, _node_ids, self._fetched_batch)
        for batch in batches:
            used_on_this_stream(batch.tensors())
            yield batch

    @property
    def cache(self) -> FeatureCache | None:
        """The cache of features, if there is one."""
        return self._inputs.cache

    @property
    def exchange(self) -> RowExchange | None:
        """The exchange of features with other hosts, if there is one."""
        return self._inputs.exchange

    def calibration_batch(self) -> Batch:
        """Seeds of the first step, up to a bound, since a rank may not hold more."""
        whole = replace(self._plan, rank=0, world_size=1)
        seeds = whole.seeds(0)[:_CALIBRATION_SEEDS]
        plan = SeedPlan(seeds, seeds.numel(), self._config.run.seed)
        return next(SeedLoader(self._data, plan, self._sampler, epochs=1, finish=self._batch).epoch(0))

    def _thinned_batch(self, data: Data) -> Batch:
        """A batch with graph dropout, as in a training step."""
        batch = self._batch(data)
        if isinstance(batch.blocks, Hops):
            _ = batch.blocks.union  # computed here, by a thread
            return batch
        return self._prepared(replace(batch, blocks=self._dropout(batch.blocks, batch.nodes, batch.step)))

    def _cached_batch(self, data: Data, slots: Tensor) -> Batch:
        data.slots = slots
        with own_stream(self._device):
            return self._thinned_batch(data)

    def _fetched_batch(self, data: Data, rows: Tensor) -> Batch:
        data.fetched = rows
        with own_stream(self._device):
            return self._thinned_batch(data)

    def _batch(self, data: Data) -> Batch:
        config, num_seeds = self._config, int(data.batch_size)
        blocks = [self._block(hop, data) for hop in reversed(data.hops)]
        if config.model.factory:
            blocks = Hops(blocks)
        return Batch(
            int(data.step),
            data.n_id.to(self._device),
            self._inputs.of(data.n_id, data.get("slots"), data.get("fetched")),
            blocks,
            torch.arange(num_seeds, device=self._device),
            data.y[:num_seeds].to(self._device),
            self._plan.step_size(int(data.step)),
            is_last=int(data.micro_batch) == config.batch.micro_batches - 1,
            seeds_only=True,
        )

    def _prepared(self, batch: Batch) -> Batch:
        model = self._config.model
        prepare(model.arch, batch.x, batch.blocks, linear_before=model.skip != "none")
        return batch

    def _block(self, hop: Hop, data: Data) -> Block:
        block = hop_block(self._graph, hop, data.degree, data.get("weighted_degree"))
        return block_to(block if self._config.batch.norm == "full" else block.counted(), self._device)


def _node_ids(data: Data) -> Tensor:
    ids: Tensor = data.n_id
    return ids


def make_sampler(graph: Graph, config: Config) -> Sampler:
    """The sampler for a configuration, on the device of the graph."""
    batch, seed = config.batch, config.run.seed
    fan_out = batch.fan_out[:-1] if batch.first_layer == "exact" else batch.fan_out
    if batch.backend == "ours":
        return NeighborSampler(graph.indptr, graph.indices, fan_out, seed, graph.has_edge_data)
    return backends.make_sampler(batch.backend, graph.indptr, graph.indices, fan_out, seed, graph.has_edge_data)


def sampled_dropout(config: Config) -> GraphDropout:
    """Graph dropout for sampled batches, within which the degrees of the whole thinned graph can't be counted."""
    degrees: Literal["counted", "expected"] = "counted" if config.batch.norm == "sampled" else "expected"
    return GraphDropout.of(config.model, config.run.seed, degrees)
