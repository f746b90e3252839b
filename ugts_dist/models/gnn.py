"""GCN, GIN, GAT and SAGE of any depth and width, without biases. Every layer is maskable."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from ugts_dist.config_sections import ModelConfig
from ugts_dist.models.aggregation import Incoming, Messages
from ugts_dist.models.block import Block
from ugts_dist.models.convs import Conv, GATConv, GCNConv, GINConv, PaperGINConv, SAGEConv
from ugts_dist.models.dropout import Dropout
from ugts_dist.models.first_layer import Aggregated, Input
from ugts_dist.models.norms import PairNorm, make_norm
from ugts_dist.models.remedies import PLAIN, Connections, DeepGNNOptions
from ugts_dist.models.sparse import Features

Arch = Literal["gcn", "gin", "gin-paper", "gat", "sage"]


class GNN(nn.Module):
    """A stack of graph convolutions with ReLU between them and none after the last.

    With skip connections, all convolutions are hidden layers between two linear layers. A norm comes between each
    hidden convolution and its ReLU. The logits are never normalised (the benchmark that the remedies follow does so in
    networks without skip connections).

    Args:
        arch: layer type. `gin-paper` is the paper's own GIN: it has a ReLU after the last layer, too, and averages the
            output with a linear map of the layer before.
        num_features: width of the input.
        num_classes: width of the output.
        depth: number of convolutions, including the first and the last.
        width: hidden width; with several heads, of all heads together.
        heads: attention heads (GAT). The last layer averages them if its outputs are the logits.
        remedies: for deep networks.

    Attributes:
        num_hidden: number of convolutions, from the first on, that are hidden layers.
    """

    skip: nn.Module | None
    connections: Connections | None

    def __init__(
        self,
        arch: Arch,
        num_features: int,
        num_classes: int,
        depth: int = 2,
        width: int = 256,
        heads: int = 1,
        remedies: DeepGNNOptions = PLAIN,
    ) -> None:
        super().__init__()
        self.arch = arch
        widths = [num_features, *[width] * (depth - 1), num_classes]
        self.connections = None
        if remedies.skip != "none":
            self.connections = Connections(remedies, num_features, width, num_classes, depth)
            widths = [width] * (depth + 1)
        self.norm = make_norm(remedies)
        self.num_hidden = depth - 1 if self.connections is None else depth
        self.convs = nn.ModuleList(
            _make_conv(arch, a, b, width, heads, last=k == self.num_hidden, mixing=remedies.mixing(k))
            for k, (a, b) in enumerate(pairwise(widths))
        )
        self.skip = nn.Linear(widths[-2], num_classes, bias=False) if arch == "gin-paper" else None

    @classmethod
    def of(cls, model: ModelConfig, num_features: int, num_classes: int) -> GNN:
        """The network of a configuration."""
        return cls(
            model.arch, num_features, num_classes, model.depth, model.width, model.heads, DeepGNNOptions.of(model)
        )

    @property
    def depth(self) -> int:
        return len(self.convs)

    def forward(self, x: Input, blocks: Sequence[Block], dropout: Dropout | None = None) -> Tensor:
        """Logits `[num_dst of the last block, num_classes]`. One block per layer, the input layer's first.

        The input layer has no block if `x` is `Aggregated`, which networks with skip connections do not take.
        `dropout` applies to each layer's input in a training step, but not to a jumping network's output layer.
        PairNorm takes its statistics over a layer's destinations: all nodes in a full batch, the nodes of this rank in
        a sampled one.
        """
        if self.connections is not None:
            assert not isinstance(x, Aggregated), "the first convolution reads a hidden layer"
            return self._past_layers(self.connections, x, blocks, dropout)
        edges: list[Block | None] = [None, *blocks] if isinstance(x, Aggregated) else list(blocks)
        for k, block in enumerate(edges):
            x = self.layer(k, x if dropout is None else dropout(x, k), block)
        assert isinstance(x, Tensor)
        return x

    def _past_layers(
        self, connections: Connections, x: Features, blocks: Sequence[Block], dropout: Dropout | None
    ) -> Tensor:
        rule = connections.rule()
        hidden = connections.enter(x if dropout is None else dropout(x, 0))
        state = rule.start(hidden)
        for k, block in enumerate(blocks):
            out = self.layer(k, hidden if dropout is None else dropout(hidden, k + 1), block)
            hidden, state = rule.after(k, out, block.destinations(state))
        if dropout is not None and not connections.sums_up:
            hidden = _dense(dropout(hidden, len(blocks) + 1))
        return connections.leave(hidden, state)

    def layer(self, k: int, x: Input, block: Block | None) -> Tensor:
        """Layer `k` with norm and activation: `[num_src, width]` -> `[num_dst, width]`. Without a block if `x` is
        `Aggregated`."""
        out: Tensor = self.convs[k](x, block)
        if k < self.num_hidden:
            return (out if self.norm is None else self.norm(out)).relu_()
        if self.skip is not None:
            assert block is not None, "the input layer is not the last"
            return (out.relu_() + self._skipped(block.destinations(_dense(x)))) / 2
        return out

    def pair_norm(self, k: int) -> PairNorm | None:
        """The PairNorm of layer `k`, if it has one."""
        return self.norm if isinstance(self.norm, PairNorm) and k < self.num_hidden else None

    def messages(self, k: int, x: Features) -> Messages:
        """The messages of each node in layer `k` of a whole graph: one or more tables `[num_nodes, ...]`."""
        messages = self._conv(k).messages(x)
        return (*messages, self._skipped(_dense(x))) if self._skips(k) else messages

    def aggregate_messages(self, k: int, messages: Incoming, block: Block) -> Tensor:
        """Layer `k` with norm and activation from the messages of the block's sources: `[num_dst, width]`.

        A layer with a `pair_norm` returns the convolution's output: norm and activation need all nodes.
        """
        if self._skips(k):
            skipped = messages[-1]
            assert isinstance(skipped, Tensor)
            return (self._conv(k).aggregate_messages(messages[:-1], block).relu_() + block.destinations(skipped)) / 2
        out = self._conv(k).aggregate_messages(messages, block)
        if self.pair_norm(k) is not None or k >= self.num_hidden:
            return out
        return (out if self.norm is None else self.norm(out)).relu_()

    def _conv(self, k: int) -> Conv:
        conv = self.convs[k]
        assert isinstance(conv, Conv)
        return conv

    def _skips(self, k: int) -> bool:
        return self.skip is not None and k == self.depth - 1

    def _skipped(self, x: Tensor) -> Tensor:
        assert self.skip is not None
        out: Tensor = self.skip(x)
        return out

    def calibrated(self) -> dict[nn.Module, list[str]]:
        """Modules whose output calibration scales to 1, in order, and the weights that scale it.

        A convolution is measured before its norm and before the skip connection is added.
        """
        past = self.connections
        layers = {} if past is None else _under("connections", past.calibrated_before())
        for k in range(self.depth):
            layers |= _under(f"convs.{k}", self._conv(k).calibrated())
        if self.skip is not None:
            layers[self.skip] = ["skip.weight"]
        return layers if past is None else layers | _under("connections", past.calibrated_after())

    def folds(self) -> list[list[str]]:
        """Groups of weights of equal shape at the same position in several convolutions."""
        groups: dict[tuple[str, tuple[int, ...]], list[str]] = {}
        for k, conv in enumerate(self.convs):
            for name, weight in conv.named_parameters():
                if weight.dim() >= 2:
                    groups.setdefault((name, tuple(weight.shape)), []).append(f"convs.{k}.{name}")
        return [names for names in groups.values() if len(names) > 1]

    def input_layers(self) -> list[str]:
        """Names of the weights that read the features."""
        return next(iter(self.calibrated().values()))

    def attention(self) -> list[nn.Module]:
        """The calibrated modules whose output is half of an attention logit."""
        return [half for conv in self.convs if isinstance(conv, GATConv) for half in (conv.source, conv.target)]

    def outputs(self) -> list[nn.Module]:
        """The calibrated modules whose scale is that of the logits."""
        if self.connections is not None:
            return [self.connections.logits]
        last = self.convs[-1]
        if self.skip is not None:
            return [last, self.skip]
        return [last.transformed if isinstance(last, GATConv) else last]


def _under(prefix: str, layers: dict[nn.Module, list[str]]) -> dict[nn.Module, list[str]]:
    """The same layers with the weights' names in the whole network."""
    return {module: [f"{prefix}.{name}" for name in names] for module, names in layers.items()}


def _dense(x: Input) -> Tensor:
    assert isinstance(x, Tensor), "a hidden layer's output"
    return x


def _make_conv(
    arch: Arch, in_channels: int, out_channels: int, width: int, heads: int, last: bool, mixing: float
) -> nn.Module:
    match arch:
        case "gcn":
            return GCNConv(in_channels, out_channels, mixing)
        case "sage":
            return SAGEConv(in_channels, out_channels)
        case "gin":
            return GINConv(in_channels, out_channels, width)
        case "gin-paper":
            return PaperGINConv(in_channels, out_channels)
        case "gat":
            return GATConv(in_channels, out_channels if last else out_channels // heads, heads, not last, mixing)
    raise ValueError(f"unknown architecture {arch!r}")
