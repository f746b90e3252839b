"""The data of a configuration: loaded, perturbed and scaled according to its `[data]` section."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from ugts_dist.config import Config
from ugts_dist.config_features import RAW, is_standardized
from ugts_dist.errors import InputError
from ugts_dist.graphs import catalogue, molecules
from ugts_dist.graphs.checksum import DataChecksum, with_digests
from ugts_dist.graphs.feature_share import FeatureShare
from ugts_dist.graphs.files import within_memory
from ugts_dist.graphs.graph import Graph, require_split
from ugts_dist.graphs.molecules import GraphSet
from ugts_dist.graphs.perturb import Unknown, edge_noise, feature_noise, left_out_classes
from ugts_dist.graphs.standardize import ColumnStatistics

Data = Graph | GraphSet


@dataclass(frozen=True)
class TrainingFeatures:
    """The features that a saved network was trained on.

    Attributes:
        checksum: of the features before they were scaled (`DataChecksum.parts`); empty if unknown.
        statistics: with which they were standardised; None if they were not, and in files of older versions.
    """

    checksum: str = ""
    statistics: ColumnStatistics | None = None

    def are_of(self, graph: Graph) -> bool:
        """Whether the graph has these features."""
        return self.checksum == DataChecksum.of(graph).parts["features"]


def load_data(config: Config, trained_on: TrainingFeatures | None = None) -> Data:
    """The data of the configuration, standardised as for `load_graph`.

    Raises InputError, also for a graph without a split that the task needs.
    """
    data = load_to_predict(config, trained_on)
    return _with_split(data, config) if isinstance(data, Graph) else data


def load_to_predict(config: Config, trained_on: TrainingFeatures | None = None) -> Data:
    """The same data; a graph need not have labels or a split. Raises InputError."""
    data = config.data
    if data.name in molecules.FOLDERS:
        allowed = f"for {data.name}, whose labels are of whole graphs"
        if data.features not in ("auto", "none"):
            raise InputError(f"data.features is {data.features}, allowed are auto and none {allowed}")
        for field in ("feature_noise", "edge_noise", "left_out"):
            if value := getattr(data, field):
                raise InputError(f"data.{field} is {value}, allowed is 0 {allowed}")
        with within_memory(f"data.name: {data.name}"):
            return molecules.load(data.name, data.root or None, data.split)
    return _for_network(disturbed(_opened(config), config)[0], config, trained_on)


def load_graph(config: Config, trained_on: TrainingFeatures | None = None) -> Graph:
    """The graph of the configuration, with its noise and without its left-out classes.

    Its columns are standardised with the statistics of `trained_on`, if there are any, and otherwise with its own.
    Raises InputError.
    """
    return load_open_graph(config, trained_on)[0]


def load_open_graph(config: Config, trained_on: TrainingFeatures | None = None) -> tuple[Graph, Unknown | None]:
    """The same graph, and what is left out of it; None if nothing is."""
    graph, unknown = disturbed(load_undisturbed(config), config)
    return _for_network(graph, config, trained_on), unknown


def load_undisturbed(config: Config) -> Graph:
    """The graph as its files have it, without weights that are ignored.

    Raises InputError, also for a graph without a split that the task needs.
    """
    return _with_split(_opened(config), config)


def node_split(config: Config) -> int:
    """The number of the split of the nodes. For link prediction `data.split` is that of the split of the edges."""
    return 0 if config.task.kind == "link" else config.data.split


def _with_split(graph: Graph, config: Config) -> Graph:
    """The graph itself. Link prediction needs no split of the nodes; otherwise raises InputError without one."""
    return graph if config.task.kind == "link" else require_split(graph)


def _opened(config: Config) -> Graph:
    data = config.data
    with within_memory(f"data.name: {data.name}"):
        shares = config.batch.placement == "sharded"
        graph = catalogue.load(data.name, data.root or None, node_split(config), data.features not in RAW, shares)
    if graph.share is not None:
        _refuse_changed_features(graph.share, config)
    if data.edge_weights == "use" or graph.edge_weight is None:
        return graph
    digests = {array: digest for array, digest in graph.digests.items() if array != "edge_weight"}
    return replace(graph, edge_weight=None, digests=digests)


def _refuse_changed_features(share: FeatureShare, config: Config) -> None:
    """Raise InputError for features that would be computed from those of all nodes."""
    data, allowed = config.data, f"for share {share} of {config.data_name}; prepare the whole graph with such features"
    if data.features not in ("auto", "none"):
        raise InputError(f"data.features is {data.features}, allowed are auto and none {allowed}")
    if data.feature_noise:
        raise InputError(f"data.feature_noise is {data.feature_noise}, allowed is 0 {allowed}")


def disturbed(graph: Graph, config: Config) -> tuple[Graph, Unknown | None]:
    """The graph with the configured noise and without the left-out classes, and what is left out.

    All of it is drawn from the run's seed. Raises InputError.
    """
    data, seed, unknown = config.data, config.run.seed, None
    with within_memory(f"data.name: {data.name}"):
        if data.left_out:
            graph, unknown = left_out_classes(graph, data.left_out, seed)
        if data.feature_noise:
            graph = feature_noise(graph, data.feature_noise, seed)
        if data.edge_noise:
            graph = edge_noise(graph, data.edge_noise, seed)
    return graph, unknown


def _for_network(graph: Graph, config: Config, trained_on: TrainingFeatures | None) -> Graph:
    """The graph with scaled features. Raises InputError for edge weights that the network does not read."""
    if graph.edge_weight is not None and not config.model.reads_edge_weights:
        raise InputError(
            f"{graph.name}: has edge weights, which model.arch {config.model.arch} does not read; "
            "allowed: model.arch gcn, or data.edge_weights ignore"
        )
    return _scaled(graph, config, trained_on)


def _scaled(graph: Graph, config: Config, trained_on: TrainingFeatures | None) -> Graph:
    """The graph with scaled features. Its checksum is that of the original data."""
    features = config.data.features
    normalizes = features == "row-normalize" and config.data.name not in catalogue.NAMES
    if not normalizes and not is_standardized(features):
        return graph
    copied = 4 * graph.num_nodes * graph.num_features
    with within_memory(f"data.features {features}: a copy of {config.data.name}", copied, "data.features none"):
        if normalizes:
            return _row_normalized(graph)
        graph = with_digests(graph)
        statistics = _statistics(graph, trained_on)
        return replace(graph, x=statistics.standardized(graph.x), statistics=statistics)


def _row_normalized(graph: Graph) -> Graph:
    """Rows of the sum 1, alike in each graph: nothing is subtracted. Raises InputError for negative features."""
    lowest = float(graph.x.min())
    if lowest < 0:
        raise InputError(
            f"data.features is row-normalize, and {graph.name} has the feature {lowest:g}; allowed are features from 0 "
            "on, or data.features auto, standardize, standardize-raw or none"
        )
    return replace(with_digests(graph), x=catalogue.row_normalized(graph.x.to(torch.float32, copy=True)))


def _statistics(graph: Graph, trained_on: TrainingFeatures | None) -> ColumnStatistics:
    """Those of the training. For the same features they are computed again, since a file has them rounded."""
    if trained_on is None or trained_on.statistics is None or trained_on.are_of(graph):
        return ColumnStatistics.of(graph.x)
    width = trained_on.statistics.mean.numel()
    if width != graph.num_features:
        features = f"whose nodes have {graph.num_features} features"
        raise InputError(f"--graph is {graph.name}, {features}; allowed are {width}, as the network reads")
    return trained_on.statistics
