"""Labels of whole graphs: batches of graphs shared over ranks, and the metric as OGB's Evaluator has it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

from ugts_dist.config import Config
from ugts_dist.config_task import TaskConfig
from ugts_dist.csr import row_pointers
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.evaluation import scores
from ugts_dist.finite import zero_if_finite
from ugts_dist.graphs.ahead import ahead
from ugts_dist.graphs.loader import SeedPlan
from ugts_dist.graphs.molecules import GraphDataset, GraphLoader, GraphSet
from ugts_dist.graphs.targets import Scale
from ugts_dist.index_type import index_type
from ugts_dist.models import Block, Dropout
from ugts_dist.models.graph_level import GraphNetwork
from ugts_dist.tasks.labels import LabelTask, label_task
from ugts_dist.tasks.placement import spare_threads

_GRAPHS_AT_ONCE = 64  # graphs per batch of an evaluation


@dataclass
class GraphBatch:
    """The disjoint union of some graphs.

    Attributes:
        step: number of the step, counted over all epochs.
        nodes: number of each node among those of all graphs, `[num_nodes]`.
        x: categories of each node, int64 `[num_nodes, num_features]`.
        block: all edges, the same for every layer.
        graph: the row of the logits that each node contributes to, ascending, `[num_nodes]`.
        y: labels, NaN if unknown, `[num_graphs, num_tasks]`.
        num_labels_of_all: known labels of this step on all ranks, by which the loss is divided.
        is_last: whether the step ends with this batch; always True.
    """

    step: int
    nodes: Tensor
    x: Tensor
    block: Block
    graph: Tensor
    y: Tensor
    num_labels_of_all: int
    is_last: bool = True


class GraphBatches:
    """Mini-batches of whole graphs. The graphs of a step depend only on seed and step.

    `batch.size` counts graphs over all ranks; 0: all training graphs in each step.
    """

    repeats = False

    def __init__(self, graphs: GraphSet, config: Config, ranks: Ranks) -> None:
        self._graphs, self._device = graphs, ranks.device
        self._plan = _plan(graphs, config, ranks)
        self._whole = replace(self._plan, rank=0, world_size=1)
        self._loader = GraphLoader(graphs, self._plan)
        # The batches of an iterator are made one after another, so that a second thread would only wait.
        self._threads = min(1, spare_threads(config, ranks))
        self.steps_per_epoch = self._plan.steps_per_epoch

    def epoch(self, number: int, first_step: int = 0) -> Iterator[GraphBatch]:
        steps = range(number * self.steps_per_epoch + first_step, (number + 1) * self.steps_per_epoch)
        batches = self._loader.steps(steps)
        return ahead(lambda step: self._batch(next(batches), step), steps, self._threads)

    def calibration_batch(self) -> GraphBatch:
        """The first step's graphs of all ranks."""
        return self._batch(next(GraphLoader(self._graphs, self._whole).steps(range(1))), 0)

    def _batch(self, data: Data, step: int) -> GraphBatch:
        num_labels = int(self._graphs.known[self._whole.seeds(step)].sum())
        return graph_batch(self._graphs, data, self._device, step, num_labels)


class GraphEvaluator:
    """A metric on the validation and test graphs. Each is predicted exactly once for any world size.

    The ranks share fixed groups of graphs, so that a graph's logit has the same bits for every world size.
    """

    def __init__(self, graphs: GraphSet, ranks: Ranks, task: LabelTask) -> None:
        self._ranks, self._task = ranks, task
        ids = torch.cat([graphs.valid, graphs.test])
        self._y = graphs.y[ids].numpy()
        self._parts = {"valid": slice(0, graphs.valid.numel()), "test": slice(graphs.valid.numel(), None)}
        groups = ids.split(_GRAPHS_AT_ONCE)
        start, stop = ranks.share(len(groups))
        self._first = start * _GRAPHS_AT_ONCE
        loader = DataLoader(GraphDataset(graphs), batch_sampler=[group.tolist() for group in groups[start:stop]])
        self._batches = [graph_batch(graphs, data, ranks.device) for data in loader]

    def measure(self, model: GraphNetwork, loss: Tensor) -> tuple[dict[str, float], float]:
        """The metric by split, and the sum of `loss` over ranks; one reduction and one wait for both.

        If a logit is not finite, the sum is NaN and so is the metric.
        """
        logits = self.logits(model)
        loss = loss + zero_if_finite([logits], logits.device)
        total = self._ranks.all_reduce_sum(torch.cat([logits.double().flatten(), loss.double().reshape(1)])).cpu()
        if not bool(total.isfinite().all()):
            return dict.fromkeys(self._parts, math.nan), math.nan
        predicted = self._task.decode(total[:-1].view(self._y.shape)).double().numpy()
        measured = {
            name: scores.measured(self._task.metric_name, self._y[part], predicted[part])
            for name, part in self._parts.items()
        }
        return measured, float(total[-1])

    @torch.no_grad()
    def logits(self, model: GraphNetwork) -> Tensor:
        """Logits of this rank's graphs in their rows among those of all, zeros elsewhere: `[num_graphs, num_tasks]`."""
        logits = torch.zeros(self._y.shape, device=self._ranks.device)
        if self._batches:
            own = torch.cat([forward(model, batch) for batch in self._batches])
            logits[self._first : self._first + own.shape[0]] = own
        return logits


class GraphTask:
    """Predicts labels or targets of whole graphs."""

    def __init__(
        self,
        graphs: GraphSet,
        options: TaskConfig | None = None,
        device: torch.device | None = None,
        scale: Scale | None = None,
    ) -> None:
        """Raises InputError for options that do not fit the labels."""
        self._graphs = graphs
        self._labels = label_task(
            options or TaskConfig(), graphs.name, graphs.y[graphs.train], graphs.num_tasks, device, scale
        )
        self.metric = self._labels.metric

    def check(self, config: Config, ranks: Ranks) -> None:
        """Raise InputError for a configuration that graph-level runs can't have."""
        if any(k != -1 for k in config.batch.fan_out):
            allowed = "-1 for each layer, as all neighbours within a graph are used"
            raise InputError(f"batch.fan_out is {list(config.batch.fan_out)}, allowed is {allowed}")
        if config.batch.micro_batches != 1:
            raise InputError(
                f"batch.micro_batches is {config.batch.micro_batches}, allowed is 1 for datasets of graphs"
            )
        if config.batch.first_layer == "exact":
            raise InputError("batch.first_layer is exact, allowed is sampled for datasets of graphs")
        if config.model.factory:
            raise InputError(f"model.factory is {config.model.factory}, allowed is none for graph labels")
        for field in ("skip", "norm", "graph_dropout"):
            found = getattr(config.model, field)
            if found != "none":
                raise InputError(f"model.{field} is {found}, allowed is none for graph labels")
        graphs = self._graphs
        self._labels.check(graphs.name, {"valid": graphs.y[graphs.valid], "test": graphs.y[graphs.test]})
        _plan(graphs, config, ranks)

    def network(self, config: Config) -> GraphNetwork:
        """The plain dense network. PyG's own initialisation draws its weights from the run's seed."""
        torch.manual_seed(config.weight_seed)
        m = config.model
        return GraphNetwork(m.arch, self._graphs.num_tasks, m.depth, m.width, m.heads)

    def batches(self, config: Config, ranks: Ranks) -> GraphBatches:
        return GraphBatches(self._graphs, config, ranks)

    def evaluator(self, config: Config, ranks: Ranks) -> GraphEvaluator:
        return GraphEvaluator(self._graphs, ranks, self._labels)

    def labels_json(self) -> dict[str, Any]:
        return {} if self._labels.kind == "multilabel" else self._labels.to_json()

    def forward(self, network: nn.Module, batch: GraphBatch, dropout: Dropout | None = None) -> Tensor:
        return forward(network, batch, dropout)

    def loss(self, logits: Tensor, batch: GraphBatch) -> Tensor:
        """This rank's part of the mean over the known labels of the step."""
        return self._labels.loss(logits, batch.y) * batch.y.shape[1] / max(batch.num_labels_of_all, 1)


def forward(network: nn.Module, batch: GraphBatch, dropout: Dropout | None = None) -> Tensor:
    """Logits `[num_graphs, num_tasks]` of a batch."""
    logits: Tensor = network(batch.x, batch.block, batch.graph, batch.y.shape[0], dropout)
    return logits


def graph_batch(
    graphs: GraphSet, data: Data, device: torch.device, step: int = 0, num_labels_of_all: int = 1
) -> GraphBatch:
    """A batch of PyG's loader on the device, with its edges as a block."""
    counts = data.ptr.diff()
    first = graphs.node_ptr[data.graph] - data.ptr[:-1]
    nodes = torch.arange(data.num_nodes) + first.repeat_interleave(counts)
    return GraphBatch(
        step,
        nodes.to(device),
        data.x.to(device),
        edge_block(data.edge_index, data.num_nodes, device),
        data.batch.to(device),
        data.y.to(device),
        num_labels_of_all,
    )


def edge_block(edge_index: Tensor, num_nodes: int, device: torch.device) -> Block:
    """The full in-neighbourhoods of all nodes; `edge_index` `[2, num_edges]` is ascending by destination."""
    source, destination = edge_index
    degree = torch.bincount(destination, minlength=num_nodes)
    index = index_type(num_nodes, source.numel())
    return Block(row_pointers(degree).to(device, index), source.to(device, index), degree.to(device))


def _plan(graphs: GraphSet, config: Config, ranks: Ranks) -> SeedPlan:
    size = config.batch.size or graphs.train.numel()
    return SeedPlan(graphs.train, size, config.run.seed, ranks.rank, ranks.world_size)
