"""Tickets on one backbone against as many separate models: memory, and the time of a forward pass with a switch.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/ticket_bank.py     # writes benchmarks/results/ticket_bank.md

The network is PyG's GCN on a random graph of Cora's size, the masks are random. Memory is what the process holds
beside files once the bank or the models are made (anonymous pages, after freed memory was handed back); the frozen
weights of a bank are counted in it.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import gc
import itertools
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from side_by_side import alternate, machine, milliseconds, ratio, table
from torch_geometric.nn import GCN

from ugts_dist import Ticket, TicketBank, sparsify

NODES, EDGES, FEATURES, CLASSES = 2708, 10556, 1433, 7
RESULT = Path(__file__).parent / "results" / "ticket_bank.md"


def main() -> None:
    options = _arguments()
    ticket = Ticket.of(sparsify(_network(options.width), seed=0))
    weights = sum(mask.numel() for mask in ticket.masks.values())
    lines = [
        "# Tickets on one backbone",
        "",
        f"PyG's GCN of {FEATURES} x {options.width} x {options.width} x {CLASSES}, {weights:,} weights, sparsity "
        f"{options.sparsity:g}; a random graph of {NODES:,} nodes and {EDGES:,} edges. {machine()}.",
        "",
        _memory(ticket, options),
        "",
        f"Time of a forward pass in ms, {options.rounds} rounds in alternation: median (least to most).",
        "",
        _times(ticket, options),
    ]
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(RESULT.read_text(encoding="utf-8"))


def _memory(ticket: Ticket, options: argparse.Namespace) -> str:
    rows = []
    for count in options.tickets:
        bank = _grown(partial(_bank, ticket, count, options))
        models = _grown(partial(_models, ticket, count, options))
        rows.append([f"{count}", _mib(bank), _mib(models), f"{models / bank:.1f}"])
    return table(["tickets", "one bank", "separate models", "ratio"], rows)


def _times(ticket: Ticket, options: argparse.Namespace) -> str:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(NODES, FEATURES, generator=generator)
    edge_index = torch.randint(NODES, (2, EDGES), generator=generator)
    bank, plain = _bank(ticket, 2, options), _filled(ticket, 0, options)
    turn = itertools.count()
    with torch.no_grad():
        assert torch.equal(bank("0", x, edge_index), plain(x, edge_index))
        with bank.using("0"):
            seconds = alternate(
                {
                    "separate model": lambda: plain(x, edge_index),
                    "bank, the ticket stays": lambda: bank.model(x, edge_index),
                    "bank, another ticket each time": lambda: bank(str(next(turn) % 2), x, edge_index),
                },
                options.rounds,
            )
    first = seconds["separate model"]
    rows = [[name, milliseconds(taken), f"{ratio(taken, first):.2f}"] for name, taken in seconds.items()]
    return table(["", "ms", "of the separate model's"], rows)


def _network(width: int) -> GCN:
    return GCN(FEATURES, width, 3, CLASSES).eval()


def _random(ticket: Ticket, number: int, sparsity: float) -> Ticket:
    """The same weights with another mask."""
    generator = torch.Generator().manual_seed(number)
    masks = {name: torch.rand(mask.shape, generator=generator) >= sparsity for name, mask in ticket.masks.items()}
    return dataclasses.replace(ticket, masks=masks)


def _bank(ticket: Ticket, count: int, options: argparse.Namespace) -> TicketBank:
    bank = TicketBank(_network(options.width), {"0": _random(ticket, 0, options.sparsity)})
    for number in range(1, count):
        bank.add(str(number), _random(ticket, number, options.sparsity))
    return bank


def _models(ticket: Ticket, count: int, options: argparse.Namespace) -> list[torch.nn.Module]:
    return [_filled(ticket, number, options) for number in range(count)]


def _filled(ticket: Ticket, number: int, options: argparse.Namespace) -> torch.nn.Module:
    return _random(ticket, number, options.sparsity).apply(_network(options.width))


def _grown(make: Callable[[], object]) -> int:
    """By how many bytes this process has grown while it holds what is made."""
    make()  # what the first one allocates once and keeps is not counted
    before = _own()
    held = make()
    grown = _own() - before
    del held
    return grown


def _own() -> int:
    """Anonymous memory of this process, after what is free was handed back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    text = Path("/proc/self/status").read_text()
    return int(re.findall(r"RssAnon:\s+(\d+) kB", text)[0]) * 1024


def _mib(size: float) -> str:
    return f"{size / 2**20:.1f} MiB"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=512, help="of the hidden layers")
    parser.add_argument("--sparsity", type=float, default=0.9, help="masked fraction of the weights")
    parser.add_argument("--tickets", type=int, nargs="+", default=[1, 10, 100], help="numbers of tickets to compare")
    parser.add_argument("--rounds", type=int, default=30, help="timings of each part, in alternation")
    return parser.parse_args()


if __name__ == "__main__":
    main()
