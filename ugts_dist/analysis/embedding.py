"""A map of the nodes in two dimensions: t-SNE of a layer's outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ugts_dist.analysis.subject import Subject, outputs_of
from ugts_dist.errors import InputError

if TYPE_CHECKING:
    from ugts_dist.analysis.kinds.tsne import Tsne

_FEWEST = 4


@dataclass(frozen=True, eq=False)
class Outputs:
    """The outputs of a layer for some nodes.

    Attributes:
        nodes: ids, ascending, `[num_nodes]`.
        y: their classes, `[num_nodes]`.
        x: `[num_nodes, width]`.
    """

    nodes: Tensor
    y: Tensor
    x: Tensor


def outputs_to_show(subject: Subject, options: Tsne) -> Outputs:
    """The outputs of the configured nodes. Collective. Raises InputError if there are too few."""
    graph = subject.graph
    nodes: Tensor = getattr(graph, options.of)
    generator = torch.Generator().manual_seed(options.seed)
    classes = _some(graph.y[nodes].unique(), options.classes, generator)
    nodes = _some(nodes[torch.isin(graph.y[nodes], classes)], options.points, generator)
    if nodes.numel() < _FEWEST:
        raise InputError(f"--of is {options.of}, with {nodes.numel()} nodes to show; allowed are {_FEWEST} or more")
    return Outputs(nodes, graph.y[nodes], outputs_of(nodes, subject, options.layer))


def tsne(x: Tensor, perplexity: float = 50.0, seed: int = 0) -> NDArray[np.float32]:
    """t-SNE (van der Maaten and Hinton 2008) of `[n, width]` by scikit-learn: `[n, 2]`.

    The perplexity is at most (n - 1) / 3; above that, each node would have nearly all others as neighbours.
    """
    from sklearn.manifold import TSNE  # imports in a second

    bounded = min(perplexity, (x.shape[0] - 1) / 3)
    # Equal points have no principal components to start from.
    init: Any = "pca" if x.shape[1] >= 2 and bool((x != x[0]).any()) else "random"
    points: NDArray[np.float32] = TSNE(perplexity=bounded, init=init, random_state=seed).fit_transform(
        x.float().numpy()
    )
    return points


def _some(items: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """At most `count` of the items, drawn at random, in their order."""
    chosen = torch.randperm(items.numel(), generator=generator)[:count]
    return items[chosen.sort().values]
