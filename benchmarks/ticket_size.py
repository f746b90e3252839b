"""Bytes of a ticket against the dense float32 file and the entropy of its masks; time of saving and loading it.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/ticket_size.py     # writes benchmarks/results/ticket_size.md

The graph is a random one of Cora's size with random features and labels. The masks come from a short search (a few
epochs of Adam on the scores, calibrated and rescaled as in the preset cora-gcn), long enough for scores that are no
longer as they were drawn; a mask's size depends on the numbers kept in each layer, hardly on which are kept. Each
ticket is also loaded in a fresh process, whose logits must have the same bits.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from side_by_side import alternate, machine, milliseconds, table
from torch import Tensor

from ugts_dist import Ticket, calibrate, sparsify
from ugts_dist.config import Config, load_preset
from ugts_dist.evaluation.whole_graph import graph_block
from ugts_dist.graphs.graph import Graph, from_edges
from ugts_dist.models import GNN
from ugts_dist.supermask import coding
from ugts_dist.supermask.ticket_file import read_ticket_file

NODES, EDGES, FEATURES, CLASSES = 2708, 10556, 1433, 7
RESULT = Path(__file__).parent / "results" / "ticket_size.md"
NETWORKS = [(32, 448, 0.5), (32, 448, 0.9), (32, 448, 0.99), (2, 256, 0.5), (2, 256, 0.9), (2, 256, 0.99)]


@dataclass
class Row:
    """What was measured of one ticket."""

    network: str
    sparsity: float
    weights: int
    dense: int
    entropy: float
    masks: int
    ticket: int
    save: list[float]
    load: list[float]

    def sizes(self) -> list[str]:
        return [
            self.network,
            f"{self.sparsity:g}",
            f"{self.weights:,}",
            f"{self.dense:,}",
            f"{self.entropy:,.0f}",
            f"{self.masks:,} (+{100 * (self.masks / self.entropy - 1):.2f} %)",
            f"{self.ticket:,}",
            f"{self.dense / self.ticket:,.0f}",
        ]

    def times(self) -> list[str]:
        return [self.network, f"{self.sparsity:g}", milliseconds(self.save), milliseconds(self.load)]


def main() -> None:
    options = _arguments()
    if options.predict:
        print(_digest(_logits(Ticket.load(options.predict))))
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = [_measure(_config(*network), Path(folder), options) for network in NETWORKS]
    columns = ["GCN", "sparsity", "weights", "dense", "entropy of the masks", "coded masks", "ticket", "dense / ticket"]
    lines = [
        "# Size of a ticket",
        "",
        f"{FEATURES} features, {CLASSES} classes; masks after {options.epochs} epochs of a search on a random graph. "
        f"{machine()}.",
        "",
        "Bytes. The dense file is the same network as float32 in a safetensors file. The entropy is the sum over the "
        "layers of N H(k / N) / 8 for k weights kept of N. A ticket also has the run's whole configuration, gains, "
        "checksums and the like in it. The logits of a fresh process that loaded the ticket had the same bits in each "
        "case.",
        "",
        table(columns, [row.sizes() for row in rows]),
        "",
        f"Milliseconds, {options.rounds} rounds: median (least to most). `save` codes the masks, writes the file and "
        "flushes it to disk; `load` reads, checks and decodes it (the weights are regenerated later, by `apply`).",
        "",
        table(["GCN", "sparsity", "save", "load"], [row.times() for row in rows]),
    ]
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(RESULT.read_text(encoding="utf-8"))


def _config(depth: int, width: int, sparsity: float) -> Config:
    changes = {"model.depth": depth, "model.width": width, "supermask.sparsity": sparsity}
    return load_preset("cora-gcn").replace(changes)


def _graph() -> Graph:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(NODES, FEATURES, generator=g)
    edges = torch.randint(NODES, (2, EDGES), generator=g)
    y = torch.randint(CLASSES, (NODES,), generator=g)
    train, valid, test = torch.arange(NODES).split([140, 500, NODES - 640])
    return from_edges("random", x, edges, y, train, valid, test, CLASSES)


def _network(config: Config) -> GNN:
    return GNN("gcn", FEATURES, CLASSES, config.model.depth, config.model.width)


def _forward(model: GNN, graph: Graph) -> Tensor:
    logits: Tensor = model(graph.x, [graph_block(graph, torch.device("cpu"))] * model.depth)
    return logits


def _search(config: Config, epochs: int) -> tuple[Ticket, GNN]:
    """A ticket after a short search, and the network that it came from."""
    torch.manual_seed(0)
    graph, model, options = _graph(), _network(config), config.supermask
    mask = sparsify(model, config.weight_seed, weight_init=options.weight_init, rescale=options.rescale)
    calibrate(mask, lambda: _forward(model, graph), model.calibrated())
    optimizer = torch.optim.Adam(mask.scores(), lr=config.optim.lr)
    for _ in range(epochs):
        mask.step(options.sparsity)
        loss = F.cross_entropy(_forward(model, graph)[graph.train], graph.y[graph.train])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    mask.step(options.sparsity)
    return Ticket.of(mask, config.portable(), {"valid": 0.0, "test": 0.0, "sparsity": mask.sparsity()}), model


def _measure(config: Config, folder: Path, options: argparse.Namespace) -> Row:
    ticket, model = _search(config, options.epochs)
    path = folder / "a.ticket"
    seconds = alternate({"save": lambda: ticket.save(path), "load": lambda: Ticket.load(path)}, options.rounds)
    _, tensors = read_ticket_file(path)
    with torch.no_grad():
        logits = _forward(model, _graph())
    command = [sys.executable, __file__, "--predict", str(path)]
    fresh = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    if fresh != _digest(logits):
        raise AssertionError("a fresh process predicts something else")
    sizes = [mask.numel() for mask in ticket.masks.values()]
    dense = safetensors.torch.save(_network(config).state_dict())
    return Row(
        f"{config.model.depth} x {config.model.width}",
        config.supermask.sparsity,
        sum(sizes),
        len(dense),
        coding.entropy_bytes(sizes, [int(mask.sum()) for mask in ticket.masks.values()]),
        tensors["masks"].numel(),
        path.stat().st_size,
        seconds["save"],
        seconds["load"],
    )


def _logits(ticket: Ticket) -> Tensor:
    model = _network(Config.from_dict(ticket.config, "ticket"))
    ticket.apply(model)
    with torch.no_grad():
        return _forward(model, _graph())


def _digest(logits: Tensor) -> str:
    return hashlib.sha256(logits.numpy().tobytes()).hexdigest()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=3, help="of the search, before the masks are saved")
    parser.add_argument("--rounds", type=int, default=10, help="timings of saving and loading")
    parser.add_argument("--predict", default="", help="print only the SHA-256 of the logits of this ticket")
    return parser.parse_args()


if __name__ == "__main__":
    main()
