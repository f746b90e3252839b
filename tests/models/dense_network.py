"""Our networks written out with dense matrices, from their weights alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
import torch_geometric.nn as pyg
from torch import Tensor

from ugts_dist.models import GNN, DeepGNNOptions

Drop = Callable[[Tensor, int], Tensor]


def adjacency_of(edges: Tensor, num_nodes: int) -> Tensor:
    """`[destination, source]`: 1 for an edge."""
    adjacency = torch.zeros(num_nodes, num_nodes)
    adjacency[edges[1], edges[0]] = 1.0
    return adjacency


def dense_network(
    model: GNN, remedies: DeepGNNOptions, x: Tensor, adjacency: Tensor, drop: Drop = lambda x, layer: x
) -> Tensor:
    """Logits of all nodes; `drop` is the dropout of a layer's input, numbered by the layers in order."""
    w = {name: value.detach() for name, value in model.state_dict().items()}
    if remedies.skip == "none":
        for k in range(model.depth):
            before, x = x, _conv(model, w, k, drop(x, k), adjacency)
            if k < model.depth - 1:
                x = F.relu(_norm(remedies, x))
        return (F.relu(x) + drop(before, model.depth - 1) @ w["skip.weight"].t()) / 2 if "skip.weight" in w else x
    x = F.relu(drop(x, 0) @ w["connections.input.weight"].t())
    first, hidden = x, [x]
    for k in range(model.depth):
        part = math.log(remedies.identity / (k + 1) + 1) if remedies.identity else 1.0
        out = F.relu(_norm(remedies, _conv(model, w, k, drop(x, k + 1), adjacency, part)))
        match remedies.skip:
            case "residual":
                x = (1 - remedies.alpha) * out + remedies.alpha * x
            case "initial":
                x = (1 - remedies.alpha) * out + remedies.alpha * first
            case _:
                x = out
        hidden.append(x)
    read = pyg.JumpingKnowledge("cat")(hidden) if remedies.skip == "jumping" else drop(x, model.depth + 1)
    return read @ w["connections.output.weight"].t()


def _norm(remedies: DeepGNNOptions, x: Tensor) -> Tensor:
    if remedies.norm == "nodenorm":
        return (x - x.mean(1, keepdim=True)) / (x.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    if remedies.norm == "pairnorm":
        centred = x - x.mean(0)
        return centred / (1e-6 + centred.square().sum(1).mean()).sqrt()
    return x


def _conv(model: GNN, weights: dict[str, Tensor], k: int, x: Tensor, adjacency: Tensor, part: float = 1.0) -> Tensor:
    """`part` is that of the linear map, beside the identity."""
    w = {name.removeprefix(f"convs.{k}."): value for name, value in weights.items()}
    looped = adjacency + torch.eye(adjacency.shape[0])
    mean = adjacency / adjacency.sum(1, keepdim=True).clamp(min=1)
    match model.arch:
        case "gcn":
            scale = looped.sum(1).rsqrt()
            out = scale[:, None] * looped * scale @ x @ w["lin.weight"].t()
            return out if part == 1.0 else part * out + (1 - part) * (scale[:, None] * looped * scale @ x)
        case "sage":
            return mean @ x @ w["lin_l.weight"].t() + x @ w["lin_r.weight"].t()
        case "gin":
            return F.relu(looped @ x @ w["nn.0.weight"].t()) @ w["nn.2.weight"].t()
        case "gin-paper":
            return (mean @ x + x) @ w["nn.weight"].t()
    width = w["att_src"].shape[2]
    mapped = x @ w["lin.weight"].t()
    mapped = mapped if part == 1.0 else part * mapped + (1 - part) * x
    heads = []
    for head, hidden in enumerate(mapped.split(width, dim=1)):
        target, source = hidden @ w["att_dst"][0, head], hidden @ w["att_src"][0, head]
        logits = F.leaky_relu(target[:, None] + source, 0.2).masked_fill(looped == 0, -torch.inf)
        heads.append(logits.softmax(1) @ hidden)
    last = k == model.depth - 1 and "connections.input.weight" not in weights
    return torch.stack(heads).mean(0) if last else torch.cat(heads, dim=1)
