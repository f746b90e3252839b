"""Dropout as a module for own networks, with the noise of the training step."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from ugts_dist.errors import InputError
from ugts_dist.models.dropout import Dropout


class NodeDropout(nn.Module):
    """Dropout for tensors with a row for each node, in a network that `model.factory` builds.

    Its noise is a function of seed, step, layer, node and feature: the same on any number of ranks, and in a resumed
    run. Outside of a training step of `ugts train` it returns its input.

    Args:
        p: probability that a feature is dropped, in [0, 1). The others are divided by 1 - p.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0.0 <= p < 1.0:
            raise ValueError(f"p is {p}, allowed is [0, 1)")
        self.p = p
        self.noise: StepNoise | None = None

    def forward(self, x: Tensor) -> Tensor:
        """`[num_nodes, width]` -> the same shape. Row i belongs to node i of the batch, or of its first nodes."""
        return x if self.noise is None else self.noise.apply(x, self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class StepNoise:
    """The noise of one forward pass, shared by its dropout modules. Each call of one of them counts as a layer."""

    def __init__(self, dropout: Dropout) -> None:
        self._dropout, self._layer = dropout, 0

    def apply(self, x: Tensor, p: float) -> Tensor:
        """Drop features of `x` `[num_rows, width]`. Raises InputError for more rows than nodes, and for other axes."""
        num_nodes = self._dropout.nodes.numel()
        if x.dim() != 2 or x.shape[0] > num_nodes:
            allowed = f"[num_nodes, width] with at most the {num_nodes} nodes of the batch"
            raise InputError(f"NodeDropout: the input has shape {tuple(x.shape)}, allowed is {allowed}")
        dropped = replace(self._dropout, p=p, at="every")(x, self._layer)
        self._layer += 1
        assert isinstance(dropped, Tensor)
        return dropped
