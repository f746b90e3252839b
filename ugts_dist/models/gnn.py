"""GCN, GIN, GAT and SAGE of any depth and width, without biases; every layer is maskable."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from ugts_dist.models.block import Block
from ugts_dist.models.convs import Conv, GATConv, GCNConv, GINConv, PaperGINConv, SAGEConv, Sent
from ugts_dist.models.dropout import Dropout
from ugts_dist.models.sparse import Features

Arch = Literal["gcn", "gin", "gin-paper", "gat", "sage"]


class GNN(nn.Module):
    """A stack of graph convolutions with ReLU between them and nothing after the last.

    Args:
        arch: kind of layer. `gin-paper` is the paper's own GIN: ReLU after the last layer too, and the output
            averaged with a linear map of the layer before.
        num_features: width of the input.
        num_classes: width of the output.
        depth: number of convolutions, input and output ones included.
        width: width between the layers; with several heads, of all heads together.
        heads: attention heads (GAT); the last layer averages them.
    """

    skip: nn.Module | None

    def __init__(
        self,
        arch: Arch,
        num_features: int,
        num_classes: int,
        depth: int = 2,
        width: int = 256,
        heads: int = 1,
    ) -> None:
        super().__init__()
        self.arch = arch
        widths = [num_features, *[width] * (depth - 1), num_classes]
        self.convs = nn.ModuleList(
            _make_conv(arch, a, b, width, heads, last=k == depth - 1) for k, (a, b) in enumerate(pairwise(widths))
        )
        self.skip = nn.Linear(widths[-2], num_classes, bias=False) if arch == "gin-paper" else None

    @property
    def depth(self) -> int:
        return len(self.convs)

    def forward(self, x: Features, blocks: Sequence[Block], dropout: Dropout | None = None) -> Tensor:
        """Logits `[num_dst of the last block, num_classes]`; one block a layer, the input layer's first.

        `dropout` is that of a training step, of each layer's input.
        """
        for k, block in enumerate(blocks):
            x = self.layer(k, x if dropout is None else dropout(x, k), block)
        assert isinstance(x, Tensor)
        return x

    def layer(self, k: int, x: Features, block: Block) -> Tensor:
        """Layer `k` with its activation: `[num_src, width]` -> `[num_dst, width]`."""
        out: Tensor = self.convs[k](x, block)
        if k < self.depth - 1:
            return out.relu_()
        if self.skip is not None:
            return (out.relu_() + self._skipped(block.destinations(_dense(x)))) / 2
        return out

    def sends(self, k: int, x: Features) -> Sent:
        """What each node sends in layer `k` of a whole graph: one or more tables `[num_nodes, ...]`."""
        sent = self._conv(k).sends(x)
        return (*sent, self._skipped(_dense(x))) if self._skips(k) else sent

    def combine(self, k: int, sent: Sent, block: Block) -> Tensor:
        """Layer `k` with its activation from what the block's sources sent: `[num_dst, width]`."""
        if not self._skips(k):
            out = self._conv(k).combine(sent, block)
            return out.relu_() if k < self.depth - 1 else out
        skipped = sent[-1]
        assert isinstance(skipped, Tensor)
        return (self._conv(k).combine(sent[:-1], block).relu_() + block.destinations(skipped)) / 2

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
        """Modules whose output is to have unit scale, in order, and the weights that scale it."""
        layers: dict[nn.Module, list[str]] = {}
        for k in range(self.depth):
            for module, names in self._conv(k).calibrated().items():
                layers[module] = [f"convs.{k}.{name}" for name in names]
        if self.skip is not None:
            layers[self.skip] = ["skip.weight"]
        return layers

    def attention(self) -> list[nn.Module]:
        """The modules among the calibrated ones whose output is half of an attention logit."""
        return [half for conv in self.convs if isinstance(conv, GATConv) for half in (conv.source, conv.target)]

    def outputs(self) -> list[nn.Module]:
        """The calibrated modules whose scale is that of the logits."""
        last = self.convs[-1]
        if self.skip is not None:
            return [last, self.skip]
        return [last.transformed if isinstance(last, GATConv) else last]


def _dense(x: Features) -> Tensor:
    assert isinstance(x, Tensor), "gin-paper needs a hidden layer before its last one"
    return x


def _make_conv(arch: Arch, in_channels: int, out_channels: int, width: int, heads: int, last: bool) -> nn.Module:
    match arch:
        case "gcn":
            return GCNConv(in_channels, out_channels)
        case "sage":
            return SAGEConv(in_channels, out_channels)
        case "gin":
            return GINConv(in_channels, out_channels, width)
        case "gin-paper":
            return PaperGINConv(in_channels, out_channels)
        case "gat":
            return GATConv(in_channels, out_channels if last else out_channels // heads, heads, concat=not last)
    raise ValueError(f"unknown architecture {arch!r}")
