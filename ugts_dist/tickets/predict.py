"""Exact predictions for all nodes of a graph, or for each of many graphs, in a file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
import torch.distributed as dist
from torch import Tensor
from torch_geometric.loader import DataLoader

from ugts_dist.checkpointing.saved_network import Named, SavedNetwork, config_with_data, load_saved
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.graphs.classes import labels_of
from ugts_dist.graphs.configured import Data, load_to_predict
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.molecules import GraphDataset, GraphSet
from ugts_dist.models.graph_level import GraphNetwork, Network
from ugts_dist.tasks.graphs import forward, graph_batch
from ugts_dist.tasks.own import make_evaluator
from ugts_dist.tickets.accuracy import Accuracy
from ugts_dist.tickets.files import check_new
from ugts_dist.tickets.inputs import known_classes
from ugts_dist.tickets.options import PredictOptions
from ugts_dist.tickets.pairs import Pairs
from ugts_dist.tickets.prediction_files import (
    Names,
    RowKind,
    check_ending,
    embedding_table,
    labels_table,
    node_ids,
    node_table,
    targets_table,
    write_tables,
)

_log = logging.getLogger(__name__)

_GRAPHS_AT_ONCE = 64
_BATCHES_A_CHUNK = 256
_OTHER_GRAPH: dict[str, Any] = {  # settings of the run's own graph that do not apply
    "data.split": 0,
    "data.feature_noise": 0.0,
    "data.edge_noise": 0.0,
    "data.left_out": 0.0,
}

MakeTable = Callable[[int, Tensor], pa.Table]


@dataclass(frozen=True)
class Predictions:
    """What was written.

    Attributes:
        rows: their number.
        accuracy: of the predictions; None without labels, and on all ranks but the main rank.
    """

    rows: int
    accuracy: Accuracy | None


def predict(options: PredictOptions, ranks: Ranks) -> Predictions:
    """Predict for the nodes of one graph, or for many graphs. The ranks share them, and the main rank writes.

    No rank holds more than a chunk of predictions. The file gets its name when it is complete.

    Raises: InputError on every rank, before any computation, for data that do not fit the network and for a file that
    exists; later, if the file can't be written.
    """
    saved, data, network, names = ranks.raise_together(lambda: _checked(options))
    saved.note_other_data(data, ranks)
    pairs = ranks.raise_together(lambda: _pairs(options, saved, data, names))
    network = network.to(ranks.device)
    if pairs is None:
        rows = in_order(_logits(network, data, saved.config, ranks, options.spill), saved.num_outputs, ranks)
        make_table = _table_maker(saved, data, names)
    else:
        assert isinstance(data, Graph)
        embeddings = _evaluator(data, saved.config, ranks, options.spill).embeddings(network)
        rows, make_table = in_order(pairs.logits(embeddings, ranks), 1, ranks), pairs.table
    accuracy = _accuracy(saved, data, names) if ranks.is_main else None

    def counted(first: int, logits: Tensor) -> pa.Table:
        if accuracy is not None:
            accuracy.count(first, logits)
        return make_table(first, logits)

    written = ranks.raise_together(
        lambda: _write(Path(options.out), rows, counted) if ranks.is_main else len(list(rows))
    )
    return Predictions(written, accuracy)


def _pairs(options: PredictOptions, saved: SavedNetwork, data: Data, names: Names) -> Pairs | None:
    """The pairs to predict; None without `--pairs`."""
    if not options.pairs:
        return None
    if saved.kind != "link" or not isinstance(data, Graph):
        raise InputError(f"--pairs is {options.pairs}, allowed is none, as {saved.path} does not predict edges")
    return Pairs.read(Path(options.pairs), data.name, data.num_nodes, names.ids)


def _table_maker(saved: SavedNetwork, data: Data, names: Names) -> MakeTable:
    """What makes a table of the outputs for nodes or graphs."""
    rows = RowKind(names, isinstance(data, GraphSet))
    match saved.kind:
        case "regression":
            assert saved.labels.scale is not None
            return partial(targets_table, rows=rows, scale=saved.labels.scale)
        case "multilabel":
            return partial(labels_table, rows=rows)
        case "link":
            return partial(embedding_table, names=names)
    return partial(node_table, names=names)


def in_order(chunks: Iterator[Tensor], width: int, ranks: Ranks) -> Iterator[Tensor]:
    """The chunks `[rows, width]` of all ranks, on the CPU, in the order of the ranks; only on the main rank.

    Every rank must iterate. A rank computes its next chunk while the main rank processes the ones before.
    """
    if ranks.is_main:
        yield from (chunk.cpu() for chunk in chunks)
        for source in range(1, ranks.world_size):
            yield from _received(source, width, ranks)
        return
    for chunk in chunks:
        dist.send(torch.tensor([chunk.shape[0]]), 0, group=ranks.process_group)
        dist.send(chunk.cpu().contiguous(), 0, group=ranks.process_group)
    dist.send(torch.zeros(1, dtype=torch.int64), 0, group=ranks.process_group)


def _checked(options: PredictOptions) -> tuple[SavedNetwork, Data, Network, Names]:
    """The network, the data and the names of nodes and classes, after a check that network and data fit."""
    check_new(Path(options.out))
    check_ending(Path(options.out))
    saved = load_saved(Path(options.path)).with_factory(options.factory)
    network = saved.network()
    config = config_with_data(saved.config, saved.path, Named(options.graph, options.root))
    data = load_to_predict(config.replace(_OTHER_GRAPH) if options.graph else config, saved.trained_on)
    if isinstance(data, GraphSet) != saved.is_graph_level:
        kinds = ("nodes of one graph", "whole graphs")
        raise InputError(
            f"--graph is {data.name}, with {kinds[isinstance(data, GraphSet)]}, but {saved.path} predicts for "
            f"{kinds[saved.is_graph_level]}; allowed are data of its kind"
        )
    if isinstance(data, Graph) and data.num_features != saved.num_features:
        raise InputError(
            f"--graph is {data.name}, whose nodes have {data.num_features} features; allowed are "
            f"{saved.num_features}, as {saved.path} reads"
        )
    return saved, data, network, _names(saved, config, data)


def _names(saved: SavedNetwork, config: Config, data: Data) -> Names:
    """Names of the nodes in the graph of the prediction, and of the classes in the graph of the training."""
    if not isinstance(data, Graph):
        return Names()
    ids = node_ids(config.data.name, data.num_nodes)
    return Names(ids, known_classes(saved))


def _accuracy(saved: SavedNetwork, data: Data, names: Names) -> Accuracy | None:
    """To count right predictions; None without classes that can be right. Prints a note about classes not known."""
    if not isinstance(data, Graph) or not data.has_classes or not data.num_classes or saved.kind != "classification":
        return None
    known = names.classes or tuple(map(str, range(saved.num_outputs)))
    labels, unknown = labels_of(data, known)
    has_common = len(unknown) < data.num_classes
    if unknown:
        effect = "nodes of these count as wrong" if has_common else "hence no accuracy"
        shown = f"{', '.join(unknown[:4])}{', ...' if len(unknown) > 4 else ''}"
        _log.warning(f"note: {data.name} has classes that {saved.path} does not have ({shown}), {effect}")
    return Accuracy.of(data, labels) if has_common else None


def _logits(network: Network, data: Data, config: Config, ranks: Ranks, spill: str) -> Iterator[Tensor]:
    """Logits of this rank's share of the rows, chunk by chunk, each on the device where it was computed."""
    if isinstance(data, GraphSet):
        assert isinstance(network, GraphNetwork)
        return _logits_of_graphs(network, data, ranks)
    outputs: Iterator[Tensor] = _evaluator(data, config, ranks, spill).outputs(network)
    return outputs


def _evaluator(graph: Graph, config: Config, ranks: Ranks, spill: str) -> Any:
    return make_evaluator(graph, config.replace({"run.spill": spill}), ranks)


@torch.no_grad()
def _logits_of_graphs(network: GraphNetwork, graphs: GraphSet, ranks: Ranks) -> Iterator[Tensor]:
    """Logits of this rank's graphs. The ranks share fixed groups, for the same bits with every world size."""
    groups = torch.arange(graphs.num_graphs).split(_GRAPHS_AT_ONCE)
    start, stop = ranks.share(len(groups))
    own = [group.tolist() for group in groups[start:stop]]
    for first in range(0, len(own), _BATCHES_A_CHUNK):
        loader = DataLoader(GraphDataset(graphs), batch_sampler=own[first : first + _BATCHES_A_CHUNK])
        yield torch.cat([forward(network, graph_batch(graphs, data, ranks.device)) for data in loader])


def _received(source: int, width: int, ranks: Ranks) -> Iterator[Tensor]:
    while True:
        count = torch.zeros(1, dtype=torch.int64)
        dist.recv(count, source, group=ranks.process_group)
        if not int(count):
            return
        chunk = torch.empty(int(count), width)
        dist.recv(chunk, source, group=ranks.process_group)
        yield chunk


def _write(path: Path, rows: Iterator[Tensor], make_table: MakeTable) -> int:
    """Write a table for each chunk. Returns the number of rows."""
    try:
        return write_tables(path, _tables(rows, make_table))
    except InputError:
        for _ in rows:  # the other ranks wait until their rows are taken
            pass
        raise


def _tables(rows: Iterator[Tensor], make_table: MakeTable) -> Iterator[pa.Table]:
    count = 0
    for chunk in rows:
        yield make_table(count, chunk)
        count += len(chunk)
