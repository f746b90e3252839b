"""Own networks in a task on one graph: checks before training, and the choice of the evaluation."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.evaluation.evaluator import Decode, Evaluator
from ugts_dist.evaluation.feature_tables import FeatureTables
from ugts_dist.evaluation.own import OwnEvaluator, fits_whole
from ugts_dist.graphs.graph import Graph
from ugts_dist.models.factory import depth_of
from ugts_dist.models.own import OwnNetwork, check_trial
from ugts_dist.models.own_tiny import EdgeData
from ugts_dist.recorded import as_cuda_graph
from ugts_dist.supermask.layout import Layout
from ugts_dist.tasks.placement import evaluation_device, why_not_recorded

_log = logging.getLogger(__name__)


def with_depth(config: Config, graph: Graph) -> Config:
    """The configuration with the depth of an own network. Raises InputError if it is unknown."""
    if not config.model.factory:
        return config
    depth = depth_of(config.model, graph.num_features, num_outputs(config, graph), config.weight_seed)
    return config.replace({"model.depth": depth})


def num_outputs(config: Config, graph: Graph) -> int:
    """How many numbers a network computes for a node: an embedding for links, otherwise one for each class."""
    return config.task.embedding if config.task.kind == "link" else graph.num_classes


def make_own(config: Config, graph: Graph) -> OwnNetwork:
    """The network of the factory, plain and dense. Raises InputError for one that can't be used."""
    attr = graph.edge_attr
    edges = EdgeData(graph.edge_weight is not None, 0 if attr is None else attr.shape[1])
    return OwnNetwork.of(config.model, graph.num_features, num_outputs(config, graph), config.weight_seed, edges)


def check_own(config: Config, graph: Graph, ranks: Ranks) -> None:
    """Raise InputError, in one line, for an own network that can't be trained as configured.

    Prints a note about noise that depends on the number of ranks.
    """
    model = config.model
    network = make_own(config, graph)
    if config.supermask.masks:
        try:
            layout = Layout.of(network.network)
        except ValueError as error:
            raise InputError(f"model.factory is {model.factory}: {error}") from None
        if config.supermask.input_sparsity and layout.weights.keys() <= set(network.input_layers()):
            found = f"supermask.input_sparsity is {config.supermask.input_sparsity}"
            raise InputError(f"{found}, allowed is 0 with {model.factory}, all of whose weights read the features")
    in_parts = bool(config.batch.size) or not is_whole(config, graph)
    check_trial(model.factory, network.trial, model.depth, in_parts)
    if network.trial.is_random and ranks.is_main and config.log.progress:
        _log.info(
            f"{model.factory} draws from torch's generator in training: its noise depends on the number of ranks; "
            "that of ugts_dist.NodeDropout does not"
        )


def make_evaluator(
    graph: Graph,
    config: Config,
    ranks: Ranks,
    metric: str = "accuracy",
    decode: Decode | None = None,
    features: FeatureTables | None = None,
) -> Evaluator:
    """The evaluator of a graph, on the device for evaluations; `features` are those of the run. Collective."""
    device = evaluation_device(graph, config, ranks, features)
    return evaluator_on(device, graph, config, ranks, metric, decode, features)


def evaluator_on(
    device: torch.device,
    graph: Graph,
    config: Config,
    ranks: Ranks,
    metric: str = "accuracy",
    decode: Decode | None = None,
    features: FeatureTables | None = None,
) -> Evaluator:
    """The evaluator of a graph on a device that is chosen already. Collective."""
    features = features or FeatureTables(graph)
    is_here = graph.share is None  # a share of the features stays in host memory
    if config.model.factory:
        own: dict[str, Any] = {"whole": is_whole(config, graph), "says": config.log.progress}
        x = features.dense(device) if is_here else graph.x  # own networks read no sparse features
        return OwnEvaluator(replace(graph, x=x), ranks, device, config.run.spill, metric, decode, x, **own)
    table = features.on(device, ranks, config.run.spill) if is_here else graph.x
    there = replace(graph, x=table) if isinstance(table, Tensor) else graph
    records = device.type == "cuda" and device == ranks.device and not why_not_recorded(config, ranks)
    record = as_cuda_graph if records else None
    return Evaluator(there, ranks, device, config.run.spill, metric, decode, table, record)


def is_whole(config: Config, graph: Graph) -> bool:
    """Whether one forward pass over the whole graph evaluates an own network: in training it is one, or it is small."""
    return not config.batch.size or fits_whole(graph)
