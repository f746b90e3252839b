"""Graphs of many kinds that no rule was made for: tables, molecules, developers, planted blocks.

Each is a pure function of its name.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ugts_dist.graphs import molecules
from ugts_dist.graphs.catalogue import data_root
from ugts_dist.graphs.graph import Graph, from_edges

NEIGHBOURS = 5
BLOCK_NODES, BLOCK_DEGREE = 4000, 10
RING, SHAPES = 8, 6  # columns of OGB's atoms: whether in a ring; those before say nothing of rings


def table(name: str) -> Graph:
    """A table of scikit-learn as a graph of nearest rows, the features in the units of their columns."""
    from sklearn import datasets
    from sklearn.neighbors import kneighbors_graph
    from sklearn.preprocessing import StandardScaler

    rows, labels = getattr(datasets, f"load_{name}")(return_X_y=True)
    near = kneighbors_graph(StandardScaler().fit_transform(rows), NEIGHBOURS).tocoo()
    edges = torch.from_numpy(np.stack([near.row, near.col])).long()
    return _both_ways(name, torch.from_numpy(rows).float(), edges, torch.from_numpy(labels).long())


def github(name: str) -> Graph:
    """MUSAE GitHub (Rozemberczki et al. 2021): developers, 4,005 binary features, a quarter of one class."""
    with np.load(data_root(None) / name / "raw" / "github.npz") as raw:
        x, edges, labels = (torch.from_numpy(raw[key]) for key in ("features", "edges", "target"))
    return _both_ways(name, x.float(), edges.long().t(), labels.long())


def atoms(name: str) -> Graph:
    """The atoms of ogbg-molbace, joined by bonds; categories as numbers, the label is whether one is in a ring."""
    graphs = molecules.load("ogbg-molbace")
    offset = graphs.node_ptr[:-1].repeat_interleave(graphs.edge_ptr.diff())
    return _both_ways(name, graphs.x[:, :SHAPES].float(), graphs.edge_index + offset, graphs.x[:, RING])


def blocks(
    shares: list[float],
    homophily: float,
    features: Callable[[Tensor, torch.Generator], Tensor],
    num_nodes: int = BLOCK_NODES,
) -> Graph:
    """Classes of such shares; of a node's edges a fraction `homophily` stays in its class, the rest goes elsewhere."""
    generator = torch.Generator().manual_seed(1)
    weights = torch.tensor(shares)
    y = torch.multinomial(weights, num_nodes, replacement=True, generator=generator)
    source = torch.randint(num_nodes, (num_nodes * BLOCK_DEGREE // 2,), generator=generator)
    stays = torch.rand(source.numel(), generator=generator) < homophily
    target = torch.randint(num_nodes, source.shape, generator=generator)
    for label in range(weights.numel()):
        inside, chosen = (y == label).nonzero().flatten(), stays & (y[source] == label)
        target[chosen] = inside[torch.randint(inside.numel(), (int(chosen.sum()),), generator=generator)]
    return _both_ways("blocks", features(y, generator), torch.stack([source, target]), y)


def gaussian(width: int, distance: float) -> Callable[[Tensor, torch.Generator], Tensor]:
    """Features `[num_nodes, width]`: a centre a class, so far from the others, with noise of deviation 1."""

    def drawn(y: Tensor, generator: torch.Generator) -> Tensor:
        centres = torch.randn(int(y.max()) + 1, width, generator=generator) * distance / width**0.5
        return centres[y] + torch.randn(y.numel(), width, generator=generator)

    return drawn


def words(width: int, a_node: int) -> Callable[[Tensor, torch.Generator], Tensor]:
    """Binary features `[num_nodes, width]`: so many words a node, half of them from the tenth that its class likes."""

    def drawn(y: Tensor, generator: torch.Generator) -> Tensor:
        anything = torch.randint(width, (y.numel(), a_node), generator=generator)
        own = torch.randint(width // 10, (y.numel(), a_node), generator=generator) + (y * 37 % width)[:, None]
        likes = torch.rand(y.numel(), a_node, generator=generator) < 0.5
        return torch.zeros(y.numel(), width).scatter_(1, torch.where(likes, own % width, anything), 1.0)

    return drawn


EVEN = [1.0] * 6
UNSEEN: dict[str, Callable[[], Graph]] = {
    "breast-cancer": lambda: table("breast_cancer"),
    "wine": lambda: table("wine"),
    "atoms": lambda: atoms("atoms"),
    "github": lambda: github("github"),
    "blocks": lambda: blocks(EVEN, 0.5, gaussian(32, 2.0)),
    "blocks-words": lambda: blocks(EVEN, 0.6, words(600, 12)),
    "blocks-apart": lambda: blocks(EVEN, 0.0, gaussian(32, 3.0)),
    "blocks-rare": lambda: blocks([0.94, 0.06], 0.6, gaussian(16, 2.0)),
    "blocks-few": lambda: blocks([0.5, 0.3, 0.2], 0.6, gaussian(3, 1.5)),
    "blocks-few-large": lambda: blocks([0.5, 0.3, 0.2], 0.5, gaussian(3, 1.0), 130_000),
    "blocks-many": lambda: blocks([1.0] * 40, 0.6, gaussian(64, 3.0)),
}


def drawn_split(num_nodes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes for training (60 %), validation and test (20 % each), ascending."""
    order = torch.randperm(num_nodes, generator=torch.Generator().manual_seed(0))
    fifth = num_nodes // 5
    train, valid, test = (part.sort().values for part in order.split([num_nodes - 2 * fifth, fifth, fifth]))
    return train, valid, test


def _both_ways(name: str, x: Tensor, edges: Tensor, y: Tensor) -> Graph:
    """A graph with every edge in both directions."""
    return from_edges(name, x, torch.cat([edges, edges.flip(0)], 1), y, *drawn_split(y.numel()))
