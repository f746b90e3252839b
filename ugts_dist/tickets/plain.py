"""A ticket's network as one of PyG's own classes, with the masked weights as ordinary parameters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn

from ugts_dist.checkpointing.saved_network import SavedNetwork, of_ticket
from ugts_dist.errors import InputError
from ugts_dist.supermask import Ticket

_CLASSES = {"gcn": "GCN", "sage": "GraphSAGE", "gat": "GAT", "gin": "GIN"}


@dataclass(frozen=True)
class PlainModel:
    """A class of `torch_geometric.nn`, its arguments, and a state that loads into it with `strict=True`."""

    name: str
    arguments: dict[str, Any]
    state: dict[str, Tensor]

    def build(self) -> nn.Module:
        """The model: features `[num_nodes, in]` and edge_index `[2, num_edges]` -> logits `[num_nodes, out]`.

        GCN takes the weights of the edges as a third argument.
        """
        model: nn.Module = getattr(pyg, self.name)(**self.arguments)
        model.load_state_dict(self.state)
        return model.eval().requires_grad_(False)


def plain_model(ticket: Ticket, path: Path) -> PlainModel:
    """PyG's own network with the same outputs on any graph without self loops.

    GCN, SAGE and GAT already have PyG's names. GIN is renamed: `convs.k.nn.0` and `.2` become `convs.k.nn.lins.0` and
    `.1`. PyG's GIN has biases, which are zero here. The last layer of its last MLP keeps the width and is the identity;
    the ReLU of `jk="last"` after it has no effect, and its `lin` is our last linear map.

    Raises InputError if PyG has no such class.
    """
    saved = of_ticket(ticket, path)
    m = saved.config.model
    if saved.own is not None:
        advice = "Ticket.load(FILE).apply(MODULE) fills your own module"
        raise InputError(f"{path}: a network of your own code; allowed is --format csr; {advice}")
    if saved.is_graph_level:
        raise _refused(path, "PyG has no class with OGB's atom encoder, a mean over the nodes and a linear output")
    if m.skip != "none" or m.norm != "none":
        raise _refused(path, f"PyG has no class with our model.skip {m.skip} and model.norm {m.norm}")
    if m.arch not in _CLASSES:
        raise _refused(path, f"PyG has no class with {m.arch}'s ReLU after the last layer and its average with a map")
    state = saved.network().state_dict()
    arguments = {
        "in_channels": saved.num_features,
        "hidden_channels": m.width,
        "num_layers": m.depth,
        "out_channels": saved.num_outputs,
    }
    if m.arch == "gin":
        return PlainModel("GIN", arguments | {"jk": "last"}, _gin_state(state, saved))
    if m.arch == "gat":
        arguments["heads"] = m.heads
    return PlainModel(_CLASSES[m.arch], arguments | {"bias": False}, state)


def _gin_state(state: dict[str, Tensor], saved: SavedNetwork) -> dict[str, Tensor]:
    depth, width = saved.config.model.depth, saved.config.model.width
    renamed: dict[str, Tensor] = {}
    for k in range(depth):
        ours, theirs = f"convs.{k}.nn", f"convs.{k}.nn.lins"
        last = k == depth - 1
        renamed[f"convs.{k}.eps"] = state[f"convs.{k}.eps"]
        renamed[f"{theirs}.0.weight"] = state[f"{ours}.0.weight"]
        renamed[f"{theirs}.1.weight"] = torch.eye(width) if last else state[f"{ours}.2.weight"]
        renamed |= {f"{theirs}.{j}.bias": torch.zeros(width) for j in range(2)}
    renamed["lin.weight"] = state[f"convs.{depth - 1}.nn.2.weight"]
    renamed["lin.bias"] = torch.zeros(saved.num_outputs)
    return renamed


def _refused(path: Path, reason: str) -> InputError:
    return InputError(f"{path}: {reason}; allowed for this ticket is --format csr")
