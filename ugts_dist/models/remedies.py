"""Remedies for deep networks: skip connections and normalisation.

They follow the benchmark of Chen et al. 2022, "Bag of Tricks for Training Deeper Graph Neural Networks"
(VITA-Group/Deep_GCN_Benchmarking, `tricks/`), without its biases. All parameters have two or more axes, so that all are
maskable. `graph_dropout` has the remedies that leave out a part of the graph.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ugts_dist.config_sections import ModelConfig
from ugts_dist.models.sparse import Features, linear


@dataclass(frozen=True)
class DeepGNNOptions:
    """The remedies of a network. Attributes: see `ModelConfig`."""

    skip: Literal["none", "residual", "initial", "jumping"] = "none"
    alpha: float = 0.1
    norm: Literal["none", "nodenorm", "pairnorm"] = "none"
    identity: float = 0.0

    @classmethod
    def of(cls, model: ModelConfig) -> DeepGNNOptions:
        return cls(model.skip, model.alpha, model.norm, model.identity)

    def mixing(self, k: int) -> float:
        """Weight of the linear map in convolution `k`, counted from 0 (GCNII, Chen et al. 2020, beta of Eq. 5)."""
        return math.log1p(self.identity / (k + 1)) if self.identity else 1.0


PLAIN = DeepGNNOptions()


class Rule(Protocol):
    """How a skip connection changes the hidden layers. Its state has one row per node, which only that node reads."""

    def start(self, hidden: Tensor) -> Tensor:
        """The state `[num_nodes, ...]` from the first hidden layer `[num_nodes, width]`."""
        ...

    def after(self, k: int, hidden: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The input of the next convolution and the new state, from the output of convolution `k`."""
        ...


@dataclass(frozen=True)
class Residual:
    """`(1 - alpha) * output + alpha * input` of each convolution, as in the paper.

    The benchmark's code uses the last output before its own sum instead of the input, which differs by terms of order
    alpha squared.
    """

    alpha: float

    def start(self, hidden: Tensor) -> Tensor:
        return hidden

    def after(self, k: int, hidden: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        mixed = torch.lerp(hidden, state.to(hidden.dtype), self.alpha)
        return mixed, mixed


@dataclass(frozen=True)
class Initial:
    """`(1 - alpha) * output + alpha * first hidden layer` (GCNII, Chen et al. 2020)."""

    alpha: float

    def start(self, hidden: Tensor) -> Tensor:
        return hidden

    def after(self, k: int, hidden: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return torch.lerp(hidden, state.to(hidden.dtype), self.alpha), state


@dataclass(frozen=True)
class Jumping:
    """A linear map of all hidden layers, concatenated (jumping knowledge, Xu et al. 2018).

    It is computed as a sum of one map per layer, whose outputs are narrow, so that no layer is kept until the end.

    Attributes:
        parts: the columns of the weight for each hidden layer, `[num_classes, width]`, in the order of the layers.
    """

    parts: tuple[Tensor, ...]

    def start(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.parts[0]).float()

    def after(self, k: int, hidden: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return hidden, state + F.linear(hidden, self.parts[k + 1])


class FeatureLinear(nn.Linear):
    """A linear map of features that may be sparse: `[num_nodes, in]` -> `[num_nodes, out]`."""

    def forward(self, x: Features) -> Tensor:
        return linear(x, self.weight)


class Connections(nn.Module):
    """The additional layers of a network with skip connections, whose convolutions all have the same width.

    As in the benchmark these are two linear layers: one with ReLU before the convolutions, and one after them.

    Args:
        options: with a `skip`.
        num_features, width, num_classes: of the whole network.
        depth: number of convolutions.
    """

    def __init__(self, options: DeepGNNOptions, num_features: int, width: int, num_classes: int, depth: int) -> None:
        super().__init__()
        self._options, self._width = options, width
        self.input = FeatureLinear(num_features, width, bias=False)
        read = (depth + 1) * width if options.skip == "jumping" else width
        self.output = nn.Linear(read, num_classes, bias=False)
        self.logits = nn.Identity()

    def rule(self) -> Rule:
        """The rule for one pass through the network."""
        match self._options.skip:
            case "residual":
                return Residual(self._options.alpha)
            case "initial":
                return Initial(self._options.alpha)
        return Jumping(self.output.weight.split(self._width, dim=1))

    @property
    def state_width(self) -> int:
        """Width of a node's state."""
        return self.output.out_features if self.sums_up else self._width

    @property
    def sums_up(self) -> bool:
        """Whether the state is the logits themselves."""
        return self._options.skip == "jumping"

    def enter(self, x: Features) -> Tensor:
        """The first hidden layer: `[num_nodes, num_features]` -> `[num_nodes, width]`."""
        hidden: Tensor = self.input(x)
        return hidden.relu_()

    def leave(self, hidden: Tensor, state: Tensor) -> Tensor:
        """Logits `[num_nodes, num_classes]` from the last hidden layer and the state."""
        out: Tensor = self.logits(state if self.sums_up else self.output(hidden))
        return out

    def calibrated_before(self) -> dict[nn.Module, list[str]]:
        """The part of `GNN.calibrated` before the convolutions."""
        return {self.input: ["input.weight"]}

    def calibrated_after(self) -> dict[nn.Module, list[str]]:
        """The part of `GNN.calibrated` after the convolutions."""
        return {self.logits: ["output.weight"]}
