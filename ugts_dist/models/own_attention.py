"""The attention of an own network's layers, where calibration can measure it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn
from torch_geometric.nn import GATConv


class AttentionHalves:
    """The halves of the attention logits of PyG's `GATConv`s, those of sources and of destinations, as modules.

    A half is linear in its vector, `att_src` or `att_dst`, so that one gain brings it to any scale.

    Attributes:
        weights: module, in the order of the layers -> name of its vector. While they are `measured`, each module is
            called with the half `[num_nodes, heads]`.
    """

    def __init__(self, network: nn.Module) -> None:
        self.weights: dict[nn.Module, str] = {}
        self._of: dict[nn.Module, tuple[nn.Module, nn.Module]] = {}
        names = {id(weight): name for name, weight in network.named_parameters()}
        for layer in network.modules():
            if isinstance(layer, GATConv):
                vectors = [names[id(vector)] for vector in (layer.att_src, layer.att_dst)]
                if not set(vectors) & set(self.weights.values()):  # a vector that layers share has one gain
                    self._of[layer] = (nn.Identity(), nn.Identity())
                    self.weights |= dict(zip(self._of[layer], vectors, strict=True))

    def has_map(self, module: nn.Module) -> bool:
        """Whether the module maps the features of one of these layers before its attention."""
        return any(module in (layer.lin, layer.lin_src, layer.lin_dst) for layer in self._of)

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Within this context a layer passes its halves through their modules."""
        for layer in self._of:
            vars(layer)["edge_updater"] = partial(self._pass, layer, layer.edge_updater)
        try:
            yield
        finally:
            for layer in self._of:
                del vars(layer)["edge_updater"]

    def _pass(self, layer: nn.Module, edge_updater: Any, *args: Any, alpha: Any, **options: Any) -> Any:
        halves = zip(self._of[layer], alpha, strict=True)
        measured = tuple(None if half is None else module(half) for module, half in halves)
        return edge_updater(*args, alpha=measured, **options)
