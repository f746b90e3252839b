"""The data of a configuration: loaded, perturbed and scaled according to its `[data]` section."""

from __future__ import annotations

from dataclasses import replace

from ugts_dist.config import Config
from ugts_dist.errors import InputError
from ugts_dist.graphs import catalogue, molecules
from ugts_dist.graphs.checksum import with_digests
from ugts_dist.graphs.files import within_memory
from ugts_dist.graphs.graph import Graph, require_split
from ugts_dist.graphs.molecules import GraphSet
from ugts_dist.graphs.perturb import Unknown, edge_noise, feature_noise, left_out_classes
from ugts_dist.graphs.standardize import standardized

Data = Graph | GraphSet


def load_data(config: Config) -> Data:
    """The data of the configuration. Raises InputError, also for a graph without a split."""
    data = load_to_predict(config)
    return require_split(data) if isinstance(data, Graph) else data


def load_to_predict(config: Config) -> Data:
    """The same data; a graph need not have labels or a split. Raises InputError."""
    data = config.data
    if data.name in molecules.FOLDERS:
        for field in ("standardize", "feature_noise", "edge_noise", "left_out"):
            if value := getattr(data, field):
                allowed = f"{False if value is True else 0} for {data.name}, whose labels are of whole graphs"
                raise InputError(f"data.{field} is {value}, allowed is {allowed}")
        with within_memory(f"data.name: {data.name}"):
            return molecules.load(data.name, data.root or None, data.split)
    return _scaled(disturbed(_opened(config), config)[0], config)


def load_graph(config: Config) -> Graph:
    """The graph of the configuration, with its noise and without its left-out classes. Raises InputError."""
    return load_open_graph(config)[0]


def load_open_graph(config: Config) -> tuple[Graph, Unknown | None]:
    """The same graph, and what is left out of it; None if nothing is."""
    graph, unknown = disturbed(load_undisturbed(config), config)
    return _scaled(graph, config), unknown


def load_undisturbed(config: Config) -> Graph:
    """The graph as its files have it. Raises InputError, also for a graph without a split."""
    return require_split(_opened(config))


def _opened(config: Config) -> Graph:
    data = config.data
    with within_memory(f"data.name: {data.name}"):
        return catalogue.load(data.name, data.root or None, data.split, data.row_normalize)


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


def _scaled(graph: Graph, config: Config) -> Graph:
    """The graph with scaled features. Its checksum is that of the original data."""
    if not config.data.standardize:
        return graph
    with within_memory(f"data.standardize: {config.data.name}"):
        return replace(with_digests(graph), x=standardized(graph.x))
