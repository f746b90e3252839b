"""What to try where a network has learnt nothing."""

from __future__ import annotations

from ugts_dist.config import Config
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.traits import density
from ugts_dist.training.defaults import DEEP, DENSE_FROM

_MARGIN = 0.02  # of accuracy above that of the commonest class, up to which nothing was learnt


def advice(config: Config, graph: Graph, valid: float) -> str:
    """A line about a network no better than the commonest class, and the remedy; empty where it is better.

    `valid` is its validation accuracy.
    """
    labels = graph.y[graph.valid]
    commonest = float(labels.bincount().max()) / labels.numel()
    if valid > min(commonest + _MARGIN, 1.0 - 1e-9):
        return ""
    told = f"validation accuracy {valid:.3f} is that of naming the commonest class ({commonest:.3f})"
    return f"{told}: nothing was learnt; try {_remedy(config, graph)}"


def _remedy(config: Config, graph: Graph) -> str:
    ticket, model = config.supermask.method != "dense", config.model
    if model.depth >= DEEP and model.skip == "none":
        deep = "--model.skip initial --model.dropout-at input"
        return f"{deep} --supermask.weight-init balanced --supermask.floor 0.3" if ticket else deep
    if not config.data.standardize and density(graph.x) >= DENSE_FROM:
        return "--data.standardize"
    if ticket and config.supermask.output_rms < 1.0:
        return "--supermask.output-rms 1"
    if ticket and config.supermask.sparsity > 0.5:
        return f"a larger --model.width ({4 * model.width}) or a smaller --supermask.sparsity (0.5)"
    return "another --optim.lr, and whether features or neighbours tell the classes at all"
