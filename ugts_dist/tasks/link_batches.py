"""Batches of link prediction: pairs of nodes with and without an edge, and the message edges around them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.evaluation.feature_tables import FeatureTables
from ugts_dist.graphs.ahead import ahead
from ugts_dist.graphs.edge_set import EdgeSet
from ugts_dist.graphs.link_split import LinkSplit
from ugts_dist.graphs.loader import SeedPlan
from ugts_dist.graphs.negatives import NegativeSampler
from ugts_dist.graphs.sample import Sample
from ugts_dist.models import Block, GraphDropout, Hops, Input, input_tensors, prepare
from ugts_dist.tasks.batches import make_sampler, sampled_dropout, whole_input
from ugts_dist.tasks.blocks import hop_blocks
from ugts_dist.tasks.cached_batches import cached
from ugts_dist.tasks.input_rows import InputRows
from ugts_dist.tasks.placement import block_to, own_stream, placed, spare_threads, used_on_this_stream

_CALIBRATION_PAIRS = 128


@dataclass
class LinkBatch:
    """One step's input on this rank.

    Attributes:
        step: number of the step, counted over all epochs.
        nodes: ids of the input layer's source nodes.
        x: their features.
        blocks: one per layer, the input layer's first; that has none if `x` is `Aggregated`.
        pairs: the output rows of both ends of each pair, those with an edge first, `[2, num_pairs]`.
        y: 1 for a pair with an edge, otherwise 0, float32 `[num_pairs]`.
        num_pairs_of_all: pairs of this step on all ranks, by which the loss is divided.
        is_last: whether the step ends with this batch; always True.
    """

    step: int
    nodes: Tensor
    x: Input
    blocks: list[Block]
    pairs: Tensor
    y: Tensor
    num_pairs_of_all: int
    is_last: bool = True

    def tensors(self) -> Iterator[Tensor]:
        """All tensors of the batch, for the management of their memory."""
        yield from (self.nodes, self.pairs, self.y)
        yield from input_tensors(self.x)
        for block in self.blocks:
            yield from block.tensors()
        if isinstance(self.blocks, Hops):
            yield from self.blocks.tensors()


def make_link_batches(
    split: LinkSplit, config: Config, ranks: Ranks, features: FeatureTables
) -> FullLinks | SampledLinks:
    """The batches for a configuration; `features` are those of the run. Collective."""
    kind = SampledLinks if config.batch.size else FullLinks
    return kind(split, config, ranks, features)


def pair_plan(split: LinkSplit, config: Config, ranks: Ranks) -> SeedPlan:
    """Which pairs each rank trains on in each step. Raises InputError if a rank would have none."""
    numbers = torch.arange(split.train.shape[1])
    size = config.batch.size or numbers.numel()
    return SeedPlan(numbers, size, config.run.seed, ranks.rank, ranks.world_size, items="pairs")


class FullLinks:
    """One step per epoch. The ranks share the pairs; each has the whole message graph."""

    steps_per_epoch = 1
    repeats = False

    def __init__(self, split: LinkSplit, config: Config, ranks: Ranks, features: FeatureTables) -> None:
        graph, device = split.graph, ranks.device
        start, stop = ranks.share(split.train.shape[1])
        self._positives, self._num_pairs_of_all = split.train[:, start:stop].to(device), 2 * split.train.shape[1]
        self._negatives = NegativeSampler(EdgeSet.of(graph, device), config.run.seed)
        self._dropout = GraphDropout.of(config.model, config.run.seed, "counted")
        x, blocks = whole_input(graph, config, ranks, features)
        self._whole = LinkBatch(
            step=0,
            nodes=torch.arange(graph.num_nodes, device=device),
            x=x,
            blocks=blocks,
            pairs=self._positives[:, :0],
            y=torch.empty(0, device=device),
            num_pairs_of_all=1,
        )

    def epoch(self, number: int, first_step: int = 0) -> Iterator[LinkBatch]:
        if first_step == 0:
            whole = self._whole
            yield replace(
                whole,
                step=number,
                blocks=self._dropout(whole.blocks, whole.nodes, number) if self._dropout.drops else whole.blocks,
                pairs=torch.cat([self._positives, self._negatives.sample(number, self._positives)], 1),
                y=_labels(self._positives),
                num_pairs_of_all=self._num_pairs_of_all,
            )

    def calibration_batch(self) -> LinkBatch:
        """The whole message graph and no pair, since the scale of a layer's outputs is that of all nodes."""
        return self._whole


class SampledLinks:
    """Mini-batches of pairs and the sampled neighbourhoods of their ends.

    Pairs, other pairs and neighbours depend only on seed, step, pair and node.
    """

    repeats = False

    def __init__(self, split: LinkSplit, config: Config, ranks: Ranks, features: FeatureTables) -> None:
        graph = placed(split.graph, config, ranks, features)
        self._graph, self._config, self._device = graph, config, ranks.device
        self._inputs = InputRows(graph, config, ranks, features)
        self._pairs = split.train.to(graph.indptr.device)
        self._negatives = NegativeSampler(EdgeSet.of(graph), config.run.seed)
        self._sampler = make_sampler(graph, config)
        self._dropout = sampled_dropout(config)
        self._plan = pair_plan(split, config, ranks)
        self._threads = spare_threads(config, ranks)
        self.steps_per_epoch = self._plan.steps_per_epoch

    def epoch(self, number: int, first_step: int = 0) -> Iterator[LinkBatch]:
        steps = range(number * self.steps_per_epoch + first_step, (number + 1) * self.steps_per_epoch)
        cache = self._inputs.cache
        if cache is None:
            batches = ahead(self._produce, steps, self._threads)
        else:
            samples, clears = ahead(self._sample, steps, self._threads), self._config.run.evaluates(number)
            batches = cached(samples, cache, _node_ids, self._thinned_batch, clears)
        for batch in batches:
            used_on_this_stream(batch.tensors())
            yield batch

    def calibration_batch(self) -> LinkBatch:
        """Pairs of the first step, up to a bound, since a rank may not hold more."""
        whole = replace(self._plan, rank=0, world_size=1)
        return self._batch(self._sample_around(0, whole.seeds(0)[:_CALIBRATION_PAIRS]))

    def _produce(self, step: int) -> LinkBatch:
        return self._thinned_batch(self._sample(step))

    def _sample(self, step: int) -> _PairSample:
        return self._sample_around(step, self._plan.seeds(step))

    def _sample_around(self, step: int, numbers: Tensor) -> _PairSample:
        positives = self._pairs[:, numbers.to(self._pairs.device)]
        pairs = torch.cat([positives, self._negatives.sample(step, positives)], 1)
        ends, rows = pairs.unique(return_inverse=True)
        return _PairSample(step, positives, rows, self._sampler.sample(step, ends))

    def _thinned_batch(self, sampled: _PairSample, slots: Tensor | None = None) -> LinkBatch:
        """The batch of a step, with graph dropout."""
        with own_stream(self._device):
            batch = self._batch(sampled, slots)
            if isinstance(batch.blocks, Hops):
                _ = batch.blocks.union  # computed here, by a thread
                return batch
            batch = replace(batch, blocks=self._dropout(batch.blocks, batch.nodes, batch.step))
            model = self._config.model
            prepare(model.arch, batch.x, batch.blocks, linear_before=model.skip != "none")
            return batch

    def _batch(self, sampled: _PairSample, slots: Tensor | None = None) -> LinkBatch:
        nodes = sampled.around.nodes
        blocks = hop_blocks(self._graph, sampled.around)
        if self._config.batch.norm != "full":
            blocks = [block.counted() for block in blocks]
        blocks = [block_to(block, self._device) for block in blocks]
        return LinkBatch(
            sampled.step,
            nodes.to(self._device),
            self._inputs.of(nodes, slots),
            Hops(blocks) if self._config.model.factory else blocks,
            sampled.rows.to(self._device),
            _labels(sampled.positives).to(self._device),
            2 * self._plan.step_size(sampled.step),
        )


class _PairSample(NamedTuple):
    """The pairs of a step: their positions among the ends, and the sample around the ends."""

    step: int
    positives: Tensor
    rows: Tensor
    around: Sample


def _node_ids(sampled: _PairSample) -> Tensor:
    return sampled.around.nodes


def _labels(positives: Tensor) -> Tensor:
    """Labels of some pairs with an edge, and of as many without one after them."""
    one = torch.ones(positives.shape[1], device=positives.device)
    return torch.cat([one, torch.zeros_like(one)])
