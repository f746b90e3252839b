"""Tickets of our own networks, without a search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ugts_dist.config import Config
from ugts_dist.models import GNN
from ugts_dist.supermask import Ticket, sparsify

FEATURES, CLASSES = 11, 4
ARCHS = ("gcn", "sage", "gat", "gin")


def config_of(arch: str, depth: int = 2, heads: int = 1, **changes: Any) -> Config:
    """A small network; `a__b=v` sets field a.b."""
    model = {"model.arch": arch, "model.depth": depth, "model.width": 12, "model.heads": heads}
    return Config().replace({**model, **{key.replace("__", "."): value for key, value in changes.items()}})


def network_of(config: Config, features: int = FEATURES, classes: int = CLASSES) -> GNN:
    m = config.model
    return GNN(m.arch, features, classes, m.depth, m.width, m.heads)


def ticket_of(config: Config, seed: int = 0, sparsity: float = 0.6, **sizes: int) -> Ticket:
    """A ticket with gains and scales that are not 1."""
    mask = sparsify(network_of(config, **sizes), seed, weight_init="signed-constant", rescale=True)
    for number, name in enumerate(mask.weights()):
        mask.scale(name, 0.5 + 0.25 * number)
    mask.step(sparsity)
    return Ticket.of(mask, config.to_dict(), {"valid": 0.25, "test": 0.125})


def saved(folder: Path, ticket: Ticket, name: str = "a.ticket") -> Path:
    ticket.save(folder / name)
    return folder / name


def masked_weights(ticket: Ticket, config: Config) -> dict[str, torch.Tensor]:
    """The dense weights, by the network that a ticket fills."""
    return ticket.apply(network_of(config)).state_dict()
