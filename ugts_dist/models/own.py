"""An own network, any torch module of PyG's layers, as the trainer uses the networks of this program."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ugts_dist import hashing
from ugts_dist.config_factory import without_folders
from ugts_dist.config_sections import ModelConfig
from ugts_dist.errors import InputError
from ugts_dist.models.block import Block
from ugts_dist.models.dropout import Dropout
from ugts_dist.models.factory import Origin, build, source_sha256
from ugts_dist.models.hops import Hops
from ugts_dist.models.node_dropout import NodeDropout, StepNoise
from ugts_dist.models.own_attention import AttentionHalves
from ugts_dist.models.own_tiny import EdgeData
from ugts_dist.models.own_trial import Trial, try_out
from ugts_dist.models.sparse import Features, Rows, SparseFeatures

_DOMAIN = 0x544F524348  # separates the seeds of torch's generator from those of other noise

_WHOLE = "without limits: batch.size 0, the full batch"


class OwnNetwork(nn.Module):
    """The module that a factory returns. A ticket has its names of weights, so that it also loads into the module.

    In a training step the module is in training mode, otherwise in evaluation mode.

    Attributes:
        network: the module.
        trial: what a trial has shown about it.
        depth: number of layers that read neighbours.
        halves: the attention logits of PyG's GATConv, for calibration.
        origin: where the module comes from.
    """

    def __init__(self, network: nn.Module, trial: Trial, depth: int, origin: Origin) -> None:
        super().__init__()
        self.network, self.trial, self.depth, self.origin = network, trial, depth, origin
        self.halves = AttentionHalves(network)
        self._dropouts = [module for module in network.modules() if isinstance(module, NodeDropout)]
        self._step, self._passes = -1, 0

    @classmethod
    def of(
        cls, model: ModelConfig, num_features: int, num_classes: int, seed: int, edges: EdgeData | None = None
    ) -> OwnNetwork:
        """The network of a configuration with a factory. Raises InputError for one that can't be used.

        Args:
            seed: of the module's own initialisation.
            edges: what the edges of the graph have; None: nothing.
        """
        edges = edges or EdgeData()
        network = build(model, num_features, num_classes, seed)
        trial = try_out(network, model.factory, num_features, num_classes, model.depth, edges)
        code = (without_folders(model.factory), source_sha256(model.factory))
        origin = Origin(*code, num_features, num_classes, edges.has_weights, edges.num_features)
        return cls(network, trial, model.depth, origin)

    def forward(self, x: Features, blocks: Sequence[Block], dropout: Dropout | None = None) -> Tensor:
        """Logits `[num_dst of the last block, num_classes]`. One block per layer, the input layer's first.

        `dropout` is given in training steps, and has the noise of the step.
        """
        hops = blocks if isinstance(blocks, Hops) else Hops(blocks)
        form = self.trial.whole if hops.is_whole or self.trial.sampled is None else self.trial.sampled
        self.network.train(dropout is not None)
        if dropout is not None:
            self._begin(dropout, None if form.is_bipartite else hops.union.kept)
        try:
            out: Tensor = form(self.network, _dense(x), hops)
        finally:
            for module in self._dropouts:
                module.noise = None
        return out[: hops.num_seeds]

    def _begin(self, dropout: Dropout, kept: Tensor | None) -> None:
        """Set the noise of a training step."""
        nodes = dropout.nodes if kept is None else dropout.nodes[kept]
        noise = StepNoise(Dropout(0.0, dropout.seed, dropout.step, nodes))
        for module in self._dropouts:
            module.noise = noise
        if self.trial.is_random:
            step = int(dropout.step)
            self._passes = self._passes + 1 if self._step == step else 0  # micro-batches
            self._step = step
            rank = dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
            torch.manual_seed(hashing.key(_DOMAIN, dropout.seed, step, self._passes, rank))

    def calibrated(self) -> dict[nn.Module, list[str]]:
        """Modules whose output calibration scales to 1, in order, and the weights that scale it.

        The last layers have one gain, which sets the scale of the logits. So have layers that a PyG layer adds up.
        """
        layers, modules = self.trial.layers, self.network.get_submodule
        sum_of = {layer: name for name, inside in layers.sums.items() for layer in inside}
        scaled: dict[nn.Module, list[str]] = {}
        for name, weight in layers.called.items():
            if name not in self._last():
                scaled.setdefault(modules(sum_of.get(name, name)), []).append(weight)
        scaled |= {half: [weight] for half, weight in self.halves.weights.items()}
        last = [layers.called[name] for name in self._last()]
        return scaled | {self.network: last} if last else scaled

    def outputs(self) -> list[nn.Module]:
        """The calibrated modules whose scale is that of the logits: the whole network, or the maps of its attention."""
        layers = self.trial.layers
        maps = [self.network.get_submodule(name) for name in layers.called if name in layers.last - set(self._last())]
        return [self.network, *maps] if self._last() else maps

    def _last(self) -> list[str]:
        """The layers that are scaled at the logits: the last ones, but for the maps of attention, which come before it.

        The attention is not linear in them.
        """
        layers = self.trial.layers
        last = [name for name in layers.called if name in layers.last]
        return [name for name in last if not self.halves.has_map(self.network.get_submodule(name))]

    def attention(self) -> list[nn.Module]:
        """The calibrated modules whose output is half of an attention logit."""
        return list(self.halves.weights)

    def input_layers(self) -> list[str]:
        """Names of the weights that read the features."""
        layers = self.trial.layers
        return [weight for name, weight in layers.called.items() if name in layers.first]

    def folds(self) -> list[list[str]]:
        """Groups of weights of equal shape whose names differ in one number, as those of equal layers do."""
        groups: dict[tuple[str, tuple[int, ...]], list[str]] = {}
        for name, weight in self.network.named_parameters():
            if weight.dim() >= 2:
                key = re.sub(r"(^|\.)\d+(\.|$)", r"\1*\2", name, count=1)
                groups.setdefault((key, tuple(weight.shape)), []).append(name)
        return [names for names in groups.values() if len(names) > 1]

    def statistics(self) -> dict[str, Tensor]:
        """The buffers that change in training, such as the running statistics of BatchNorm, by name."""
        return {name: self.network.get_buffer(name) for name in self.trial.statistics}


def check_trial(factory: str, trial: Trial, depth: int, in_parts: bool) -> None:
    """Raise InputError, in one line, for a network that can't be used.

    Args:
        in_parts: whether it is trained or evaluated on parts of the graph.
    """
    if trial.unused:
        names = ", ".join(trial.unused[:3]) + (" and others" if len(trial.unused) > 3 else "")
        raise InputError(f"model.factory is {factory}: forward does not use {names}; allowed are used parameters")
    if in_parts and trial.sampled is None:
        raise InputError(f"model.factory is {factory}: forward fails for a part of a graph; {_WHOLE}")
    if in_parts and trial.reads_farther:
        raise InputError(
            f"model.depth is {depth}, but the network of {factory} reads farther, or has statistics over all nodes; "
            f"allowed is the number of its layers that read neighbours; {_WHOLE}"
        )


def _dense(x: Features) -> Tensor | Rows:
    """Sparse features as a dense float32 tensor `[num_nodes, num_features]`; others as they are."""
    if not isinstance(x, SparseFeatures):
        return x
    filled = x.values.new_zeros(x.shape)
    filled[x.pattern.rows, x.pattern.indices.long()] = x.values
    return filled


def plain_module(network: nn.Module) -> nn.Module:
    """The module whose weights are masked or trained: an own network's, without what this program adds."""
    return network.network if isinstance(network, OwnNetwork) else network
