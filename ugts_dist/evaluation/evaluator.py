"""Exact evaluation: all nodes, all neighbours, layer by layer. The ranks share the nodes of each layer.

Memory is bounded: a layer is computed in chunks of nodes. For every node only the input of the next layer is kept, once
per machine (or once per GPU).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ugts_dist.config_batch import SUMMING
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.evaluation import scores, tiles, whole_graph
from ugts_dist.evaluation.node_tables import NodeTables, pieces
from ugts_dist.evaluation.shared_tiles import SharedTiles
from ugts_dist.evaluation.skip_state import SkipState
from ugts_dist.evaluation.whole_graph import block_of_rows, chunks, full_features
from ugts_dist.finite import zero_if_finite
from ugts_dist.graphs.feature_share import FeatureShare
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.mapping import is_on_disk, read_soon
from ugts_dist.metrics import METRICS
from ugts_dist.models import GNN, Block, Features, Messages, SparseFeatures, Summed
from ugts_dist.models.norms import PairNorm
from ugts_dist.recorded import Record, Recorded

OnLayer = Callable[[int, Tensor], None]
Decode = Callable[[Tensor], Tensor]


class Evaluator:
    """A metric on the validation and test nodes. Each is counted exactly once for any world size.

    Args:
        device: where to compute, by default the ranks' device.
        spill: see `NodeTables`.
        metric: a name of `METRICS`.
        decode: from logits to what is predicted, such as targets in their own units.
        features: of all nodes on the device, if they are there already.
        record: how `measure` records the logits of a small graph, which it then repeats; None: it does not. For one
            process, which measures one model.
    """

    def __init__(
        self,
        graph: Graph,
        ranks: Ranks,
        device: torch.device | None = None,
        spill: str = "",
        metric: str = "accuracy",
        decode: Decode | None = None,
        features: Tensor | SparseFeatures | None = None,
        record: Record | None = None,
    ) -> None:
        self._graph, self._ranks, self._metric, self._decode = graph, ranks, metric, decode
        self._device = ranks.device if device is None else device
        self._start, self._stop = ranks.share(graph.num_nodes)
        self._tables = NodeTables(graph.num_nodes, ranks, self._device, spill)
        features = features if graph.share is None else graph.x
        self._x = full_features(graph, self._device) if features is None else features
        self._is_on_disk = isinstance(self._x, Tensor) and is_on_disk(self._x)
        self._degree = graph.degree.to(self._device)
        weighted = graph.weighted_degree
        self._weighted_degree = None if weighted is None else weighted.to(self._device)
        self._y = graph.y[self._start : self._stop].to(self._device)
        self._split = {
            name: self._own(nodes).to(self._device) for name, nodes in (("valid", graph.valid), ("test", graph.test))
        }
        self._sizes = {"valid": graph.valid.numel(), "test": graph.test.numel()}
        self._ogb = scores.ogb_evaluator(graph.name) if metric == "accuracy" else None
        self._chunks = list(chunks(graph, self._start, self._stop))
        # The only block of a small graph is kept, with what its layers have cached.
        self._kept = [self._block(*chunk) for chunk in self._chunks] if len(self._chunks) == 1 else []
        self._record = record if self._kept else None
        self._recorded: Recorded | None = None

    @property
    def repeats(self) -> bool:
        """Whether logits are repetitions of recorded operations now."""
        return self._recorded is not None and self._recorded.is_repeated

    def measure(self, model: GNN, loss: Tensor) -> tuple[dict[str, float], float]:
        """The metric by split, and the sum of `loss` over ranks, which is NaN if a logit is not finite."""
        loss = loss.detach().to(self._device)
        return self._accuracy(model, loss) if self._metric == "accuracy" else self._of_all(model, loss)

    def _accuracy(self, model: GNN, loss: Tensor) -> tuple[dict[str, float], float]:
        """Counts of each rank's nodes; one reduction and one wait for them and the loss."""
        chunks = []
        for logits in self._measured(model):
            chunks.append(logits.argmax(1))
            loss = loss + zero_if_finite([logits], self._device)
        predicted = torch.cat(chunks)
        correct = predicted == self._y
        counts = torch.stack([correct[rows].sum() for rows in self._split.values()])
        sums = torch.cat([counts.double(), loss.double().reshape(1)])
        total = self._ranks.all_reduce_sum(sums).tolist()
        if self._ogb is not None:
            return self._by_ogb(self._ogb, predicted), total[-1]
        return {name: total[i] / self._sizes[name] for i, name in enumerate(self._split)}, total[-1]

    def _of_all(self, model: GNN, loss: Tensor) -> tuple[dict[str, float], float]:
        """What is predicted for all measured nodes, on every rank, and the metric of it."""
        nodes = torch.cat([self._graph.valid, self._graph.test]).sort().values
        own, start, kept = self._own(nodes).to(self._device), 0, []
        for logits in self._measured(model):
            rows = own[(own >= start) & (own < start + len(logits))] - start
            kept.append(self._predicted(logits[rows]))
            loss = loss + zero_if_finite([logits], self._device)
            start += len(logits)
        predicted = torch.cat(kept)
        table = predicted.new_zeros(nodes.numel(), *predicted.shape[1:])
        first = int((nodes < self._start).sum())
        table[first : first + len(predicted)] = predicted
        table = self._ranks.all_reduce_sum(table).cpu()
        total = float(self._ranks.all_reduce_sum(loss.double().reshape(1)))
        if not math.isfinite(total):
            return {"valid": math.nan, "test": math.nan}, total
        return {
            name: scores.measured(
                self._metric, self._graph.y[ids].numpy(), table[torch.searchsorted(nodes, ids)].double().numpy()
            )
            for name, ids in (("valid", self._graph.valid), ("test", self._graph.test))
        }, total

    def _predicted(self, logits: Tensor) -> Tensor:
        """Predicted classes `[rows]` if the metric needs no more, otherwise logits or targets `[rows, columns]`."""
        if METRICS[self._metric].needs_scores or self._graph.y.dim() == 2:
            return logits if self._decode is None else self._decode(logits)
        return logits.argmax(1).float()

    def _by_ogb(self, evaluator: Any, predicted: Tensor) -> dict[str, float]:
        """OGB's own metric on the predictions of all ranks."""
        table = self._tables.empty(1, torch.int64)
        table[self._start : self._stop, 0] = predicted
        self._tables.complete([table])
        y, everyone = self._graph.y[:, None], table.cpu()
        splits = (("valid", self._graph.valid), ("test", self._graph.test))
        return {
            name: float(evaluator.eval({"y_true": y[nodes], "y_pred": everyone[nodes]})["acc"])
            for name, nodes in splits
        }

    def _measured(self, model: GNN) -> Iterator[Tensor]:
        """The logits of this rank's nodes, chunk by chunk."""
        if self._record is not None and self._recorded is None:
            self._recorded = Recorded("the evaluation", lambda: self.logits(model), tuple, self._record)
        yield from self.outputs(model) if self._recorded is None else [self._recorded()]

    def logits(self, model: GNN) -> Tensor:
        """Logits of this rank's nodes, `[stop - start, num_classes]`."""
        return torch.cat(list(self.outputs(model)))

    def embeddings(self, model: GNN) -> Tensor:
        """The outputs for all nodes, on every rank: a table `[num_nodes, width]`. Collective."""
        (table,) = self._filled((rows,) for rows in self.outputs(model))
        return table

    @torch.no_grad()
    def outputs(self, model: GNN, on_layer: OnLayer | None = None) -> Iterator[Tensor]:
        """Logits of this rank's nodes in order, chunk by chunk: `[rows, num_classes]`. Collective until the first.

        `on_layer` is called with the number of each hidden layer and its outputs, chunk by chunk, before the logits
        that follow from them.
        """
        if self._device != self._ranks.device:
            model = copy.deepcopy(model).to(self._device)
        skip_state = None if model.connections is None else SkipState(model.connections, self._tables)
        messages = self._first_messages(model) if skip_state is None else self._filled(self._entered(model, skip_state))
        for k in range(model.depth - 1):
            hidden = self._layer(model, k, messages, skip_state, on_layer)
            messages = self._filled(model.messages(k + 1, x) for _, x in hidden)
        for rows, x in self._layer(model, model.depth - 1, messages, skip_state, on_layer):
            yield x if skip_state is None else skip_state.logits(rows, x)

    def _entered(self, model: GNN, skip_state: SkipState) -> Iterator[Messages]:
        """The messages of the first convolution if a linear layer comes before it."""
        for start, stop in self._pieces():
            yield model.messages(0, skip_state.start(self._own_rows(start, stop), self._features(start, stop)))

    def _layer(
        self, model: GNN, k: int, messages: Messages, skip_state: SkipState | None, on_layer: OnLayer | None
    ) -> Iterator[tuple[slice, Tensor]]:
        """The outputs of layer `k` chunk by chunk, and the rows of this rank that they belong to."""
        norm = model.pair_norm(k)
        table = messages[0]
        if k == 0 and table is self._graph.x and self._graph.share is not None:
            chunks = self._by_shared_tiles(model, self._graph.share)
        elif model.arch in SUMMING and isinstance(table, Tensor) and tiles.is_too_large(table):
            chunks = self._by_tiles(model, k, table, messages[1:])
        else:
            chunks = (model.aggregate_messages(k, messages, block) for block in self._blocks())
        if norm is not None:
            chunks = self._pair_normalised(norm, chunks)
        for (start, stop), x in zip(self._chunks, chunks, strict=True):
            rows = self._own_rows(start, stop)
            x = x if skip_state is None else skip_state.after(k, rows, x)
            if on_layer is not None and k < model.num_hidden:
                on_layer(k, x)
            yield rows, x

    def _by_tiles(self, model: GNN, k: int, table: Tensor, others: Messages) -> Iterator[Tensor]:
        """The same for a table that the memory can't hold: sums of many chunks at a time, in sequential passes."""
        memory = tiles.room(self._ranks.local_world_size)
        for held in tiles.ranges(self._chunks, self._graph.indptr, table.shape[1], memory):
            first = held[0][0]
            sums = tiles.tiled_sums(model.arch, (self._block(*chunk) for chunk in held), table, memory)
            for start, stop in held:
                known = Summed(sums[start - first : stop - first], table)
                yield model.aggregate_messages(k, (known, *others), self._block(start, stop))

    def _by_shared_tiles(self, model: GNN, share: FeatureShare) -> Iterator[Tensor]:
        """The same of the first layer if hosts share out the features: all ranks read each tile together."""
        streamed = SharedTiles(self._graph.x, share, self._ranks)
        for held in streamed.ranges(self._chunks, self._graph.indptr):
            first = held[0][0] if held else 0
            sums = streamed.sums(model.arch, (self._block(*chunk) for chunk in held))
            for start, stop in held:
                known = Summed(sums[start - first : stop - first], self._graph.x)
                yield model.aggregate_messages(0, (known,), self._block(start, stop))

    def _pair_normalised(self, norm: PairNorm, chunks: Iterator[Tensor]) -> Iterator[Tensor]:
        """Apply norm and ReLU to a layer's outputs; the ranks add up the norm's statistics over all nodes."""
        table, sums = None, []
        for (start, stop), x in zip(self._chunks, chunks, strict=True):
            table = self._tables.own(x.shape[1]) if table is None else table
            table[self._own_rows(start, stop)] = x
            sums.append(norm.sums(x))
        assert table is not None
        total = self._ranks.all_reduce_sum(torch.stack(sums).sum(0))
        for start, stop in self._chunks:
            yield norm.normalised(table[self._own_rows(start, stop)], total, self._graph.num_nodes).relu_()

    def _first_messages(self, model: GNN) -> Messages:
        """The messages of the first layer: the stored features themselves if the layer accepts them."""
        one = self._features(self._start, self._start + 1)
        if model.messages(0, one)[0] is one:
            table = self._x if isinstance(self._x, Tensor) else self._graph.x.to(self._device)
            if self._graph.share is not None and model.arch in SUMMING and self._device.type == "cpu":
                return (table,)  # read in tiles
            # A sum has the dtype of its terms, hence a float32 copy, no wider than the layer's output.
            is_read = table.dtype == torch.float32 and self._graph.share is None
            return (table,) if is_read else (self._copied_features(),)
        return self._filled(model.messages(0, self._features(*rows)) for rows in self._pieces())

    def _copied_features(self) -> Tensor:
        """The features of all nodes in float32, each rank's part from this rank. Collective."""
        (table,) = self._filled((self._graph.x[a:b].to(self._device).float(),) for a, b in self._pieces())
        return table

    def _pieces(self) -> Iterator[tuple[int, int]]:
        """This rank's nodes, in ranges of bounded size."""
        return pieces(self._start, self._stop, whole_graph.CHUNK_ROWS)

    def _filled(self, chunks: Iterator[Messages]) -> tuple[Tensor, ...]:
        """Tables for all nodes, filled with this rank's chunks, its rows in order."""
        tables: list[Tensor] = []
        start = self._start
        for chunk in chunks:
            if not tables:
                tables = [self._tables.empty(part.shape[1]) for part in chunk]
            stop = start + chunk[0].shape[0]
            for table, part in zip(tables, chunk, strict=True):
                assert isinstance(part, Tensor)
                table[start:stop] = part
            start = stop
        self._tables.complete(tables)
        return tuple(tables)

    def _features(self, start: int, stop: int) -> Features:
        if isinstance(self._x, SparseFeatures):
            is_whole = stop - start == self._graph.num_nodes
            return self._x if is_whole else self._x.select(torch.arange(start, stop, device=self._device))
        rows = self._x[start:stop]
        if self._is_on_disk:
            read_soon(rows)
        return rows.to(self._device).float()

    def _own_rows(self, start: int, stop: int) -> slice:
        """The positions of some nodes among this rank's rows."""
        return slice(start - self._start, stop - self._start)

    def _blocks(self) -> Iterator[Block]:
        yield from self._kept or (self._block(*chunk) for chunk in self._chunks)

    def _block(self, start: int, stop: int) -> Block:
        return block_of_rows(self._graph, self._degree, start, stop, self._weighted_degree)

    def _own(self, nodes: Tensor) -> Tensor:
        """The positions among this rank's rows of those of `nodes` that it has."""
        return nodes[(nodes >= self._start) & (nodes < self._stop)] - self._start
