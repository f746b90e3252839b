"""Small graphs and runs for the tests of the loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from ugts_dist.config import Config, load_preset
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.evaluation.evaluator import Evaluator
from ugts_dist.graphs.graph import Graph, from_edges
from ugts_dist.supermask import Ticket
from ugts_dist.tasks import build_model
from ugts_dist.training.fit import Result, fit

QUIET = {"log.progress": False, "log.to": []}


def planted_graph(num_nodes: int = 300, num_classes: int = 4, seed: int = 0) -> Graph:
    """Classes that neighbours tend to share, with features that tell a little about them."""
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(0, num_classes, (num_nodes,), generator=g)
    edges = torch.randint(0, num_nodes, (2, 40 * num_nodes), generator=g)
    kept = (y[edges[0]] == y[edges[1]]) | (torch.rand(edges.shape[1], generator=g) < 0.05)
    edges = edges[:, kept]
    edges = torch.cat([edges, edges.flip(0)], dim=1)
    x = torch.nn.functional.one_hot(y, 16).float() + torch.randn(num_nodes, 16, generator=g)
    order = torch.randperm(num_nodes, generator=g)
    train, valid, test = (part.sort().values for part in order.split([100, 80, num_nodes - 180]))
    return from_edges("planted", x, edges, y, train, valid, test, num_classes)


def config(**changes: Any) -> Config:
    """A short run on a small network; `a__b=v` sets field a.b."""
    return (
        load_preset("digits")
        .replace({**QUIET, "model.width": 32, "run.epochs": 12, "batch.size": 40, "batch.fan_out": [5, 5]})
        .replace({key.replace("__", "."): value for key, value in changes.items()})
    )


def fit_rank(rank: int, world_size: int, settings: Config, folder: str) -> tuple[Result, dict[str, torch.Tensor]]:
    """A run on the planted graph as one rank of an initialised group; the ticket as the main rank saved it."""
    ranks = Ranks(rank, world_size, process_group=dist.group.WORLD)
    result = fit(settings, planted_graph(), ranks, Path(folder))
    dist.barrier()
    return result, Ticket.load(Path(folder) / "best.ticket").masks


def measure_rank(rank: int, world_size: int, arch: str) -> tuple[dict[str, float], float, torch.Tensor]:
    graph = planted_graph(num_nodes=301)  # no world size divides it
    ranks = Ranks(rank, world_size, process_group=dist.group.WORLD if world_size > 1 else None)
    evaluator = Evaluator(graph, ranks)
    model = build_model(config(model__arch=arch, model__depth=3, batch__fan_out=[5, 5, 5]), graph)
    measured, loss = evaluator.measure(model, torch.tensor(float(rank)))
    return measured, loss, evaluator.logits(model)


def equal_share(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Fraction of mask bits that agree."""
    same = sum(int((a[name] == b[name]).sum()) for name in a)
    return same / sum(mask.numel() for mask in a.values())
