"""Tickets that are forged or do not fit."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import torch
import torch_geometric.nn as pyg
from torch import nn

from tests.trials.case import case, ugts
from tests.trials.networks import EDGES, X, told
from ugts_dist import Ticket, TicketBank, sparsify
from ugts_dist.supermask.ticket_file import read_ticket_file, write_ticket_file


def forged(folder: Path, **change: Any) -> Path:
    """A ticket of a linear layer, of 4 x 30 weights, with other entries for its weight in the header."""
    path = folder / "a.ticket"
    mask = sparsify(nn.Linear(30, 4, bias=False))
    mask.step(0.5)
    Ticket.of(mask).save(path)
    header, tensors = read_ticket_file(path)
    entry = dict(zip(("shape", "kept", "gain", "scale"), header["weights"]["weight"], strict=True))
    write_ticket_file(path, {**header, "weights": {"weight": list((entry | change).values())}}, tensors)
    return path


@case(
    r"^exit 2: ugts: .*a\.ticket: damaged ticket \(scale of weight 'weight' is 1\.07151e\+301, allowed is a number from"
)
def scale_of_two_to_the_thousand(folder: Path) -> str:
    """A ticket with a scale of 2^1000"""
    return ugts("ticket", "show", forged(folder, scale="0x1p+1000")).told


@case(
    r"^exit 2: ugts: .*a\.ticket: damaged ticket \(gain is 1\.07151e\+301, allowed is a number of magnitude 2\^-64 to"
)
def gain_of_two_to_the_thousand(folder: Path) -> str:
    """A ticket with a gain of 2^1000"""
    return ugts("ticket", "show", forged(folder, gain="0x1p+1000")).told


@case(r"^exit 2: .*it declares 1073741824 weights, allowed are \d+ with \d+ bytes of masks\) 0 MB more$")
def enormous(folder: Path) -> str:
    """A small file that declares 2^30 weights"""
    path, before = forged(folder, shape=[2**15, 2**15], kept=60), peak()
    return f"{ugts('ticket', 'show', path).told} {(peak() - before) // 2**20} MB more"


def peak() -> int:
    """The most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@case(r"^3000000 weights in \d{3} bytes, sparsity 0\.0$")
def nothing_masked(folder: Path) -> str:
    """A ticket that keeps all of three million weights, which take no bytes"""
    mask = sparsify(nn.Linear(3000, 1000, bias=False))
    size = Ticket.of(mask).save(folder / "a.ticket")
    loaded = Ticket.load(folder / "a.ticket")
    return f"{loaded.masks['weight'].numel()} weights in {size} bytes, sparsity {loaded.sparsity}"


@case(
    r"^ValueError: the model does not fit the ticket: the ticket has no convs\.0\.bias, convs\.1\.bias; "
    r"build the model with bias=False, as the ticket's was$"
)
def biases_too_many(folder: Path) -> str:
    """A ticket of a network without biases for PyG's GCN with biases"""
    return told(lambda: Ticket.of(sparsify(pyg.GCN(4, 8, 2, 3, bias=False))).apply(pyg.GCN(4, 8, 2, 3)))


@case(r"the ticket has convs\.0\.lin\.weight \(8, 4\), in the model \(9, 4\), convs\.1\.lin\.weight \(3, 8\), in")
def other_width(folder: Path) -> str:
    """A ticket for a network of another width"""
    kind = pyg.GCN
    return told(lambda: Ticket.of(sparsify(kind(4, 8, 2, 3, bias=False))).apply(kind(4, 9, 2, 3, bias=False)))


@case(r"^equal, equal$")
def dropout(folder: Path) -> str:
    """Two calls of a network with dropout, from apply and from a bank"""

    def network() -> nn.Module:
        return pyg.GCN(4, 8, 2, 3, dropout=0.5)

    ticket = Ticket.of(sparsify(network()))
    plain, bank = ticket.apply(network()), TicketBank(network(), {"a": ticket})
    pairs = ((plain(X, EDGES), plain(X, EDGES)), (bank("a", X, EDGES), bank("a", X, EDGES)))
    return ", ".join("equal" if torch.equal(*pair) else "different" for pair in pairs)


@case(r"^TypeError: tickets has 'a': str, allowed are names with tickets$")
def bank_of_paths(folder: Path) -> str:
    """A bank that is given the path of a ticket"""
    paths: Any = {"a": "a.ticket"}
    return told(lambda: TicketBank(nn.Linear(4, 2), paths))
