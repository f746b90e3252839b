"""Untrained tickets in graph neural networks, found at scale.

The public interface; each name is imported when it is first used, so that `ugts --help` needs nothing heavy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ugts_dist.api import FoundTicket as FoundTicket
    from ugts_dist.api import TrainedNetwork as TrainedNetwork
    from ugts_dist.api import find_ticket as find_ticket
    from ugts_dist.api import train_dense as train_dense
    from ugts_dist.config import Config as Config
    from ugts_dist.errors import InputError as InputError
    from ugts_dist.models.node_dropout import NodeDropout as NodeDropout
    from ugts_dist.supermask import Schedule as Schedule
    from ugts_dist.supermask import Supermask as Supermask
    from ugts_dist.supermask import Ticket as Ticket
    from ugts_dist.supermask import TicketBank as TicketBank
    from ugts_dist.supermask import calibrate as calibrate
    from ugts_dist.supermask import constant_schedule as constant_schedule
    from ugts_dist.supermask import cubic_schedule as cubic_schedule
    from ugts_dist.supermask import linear_schedule as linear_schedule
    from ugts_dist.supermask import sparsify as sparsify

_SUPERMASK = (
    "Schedule",
    "Supermask",
    "Ticket",
    "TicketBank",
    "calibrate",
    "constant_schedule",
    "cubic_schedule",
    "linear_schedule",
    "sparsify",
)
_API = ("FoundTicket", "TrainedNetwork", "find_ticket", "train_dense")
_HOMES = {
    **dict.fromkeys(_API, "ugts_dist.api"),
    "Config": "ugts_dist.config",
    "InputError": "ugts_dist.errors",
    "NodeDropout": "ugts_dist.models.node_dropout",
    **dict.fromkeys(_SUPERMASK, "ugts_dist.supermask"),
}

__all__ = sorted(_HOMES)
__version__ = "0.2.0"


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'ugts_dist' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Public names are listed before their first use, so that a notebook completes them."""
    return sorted({*globals(), *__all__})
