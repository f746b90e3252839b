"""DropNode and DropEdge as pure functions of (seed, step, node) and of (seed, step, source, destination).

As in `dropout`, the result does not depend on batch, rank or device, and a resumed run needs no generator state. Both
follow VITA-Group/Deep_GCN_Benchmarking (`tricks/tricks/dropouts.py`): one draw per step for all layers. DropEdge (Rong
et al. 2020) drops each direction of an undirected edge separately. DropNode (Huang et al. 2021) drops all edges of a
node but its self loop. The remaining edges are normalised by the remaining degrees. Features are neither dropped nor
scaled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ugts_dist import hashing
from ugts_dist.config_sections import ModelConfig
from ugts_dist.models.block import Block

_DOMAIN = 0x4752415048  # separates these hashes from those of dropout, seeds and neighbours


@dataclass(frozen=True)
class GraphDropout:
    """What each training step leaves out of the graph.

    Attributes:
        kind: nodes or edges.
        rate: the probability that one is dropped.
        seed: of the run.
        degrees: the in-degrees of the thinned blocks. counted: those within the block, exact if it has all edges of its
            nodes. expected: `1 - rate` times those in the whole graph, 0 for dropped nodes; for sampled batches with
            the degrees of the whole graph, whose exact values are unknown.
    """

    kind: Literal["none", "dropnode", "dropedge"]
    rate: float
    seed: int
    degrees: Literal["counted", "expected"] = "counted"

    @classmethod
    def of(cls, model: ModelConfig, seed: int, degrees: Literal["counted", "expected"]) -> GraphDropout:
        return cls(model.graph_dropout, model.graph_dropout_rate, seed, degrees)

    @property
    def drops(self) -> bool:
        """Whether anything is dropped."""
        return self.kind != "none" and self.rate > 0.0

    def __call__(self, blocks: Sequence[Block], nodes: Tensor, step: int) -> list[Block]:
        """Thin the blocks of a batch. A block that several layers share is thinned once.

        Args:
            nodes: id of each source node of the first block, `[num_nodes]`; those of later blocks come first.
            step: number of the step.
        """
        if not self.drops:
            return list(blocks)
        key = hashing.key(_DOMAIN, self.seed, step)
        thinned = {id(block): block for block in blocks}
        thinned = {name: self._thinned(block, nodes[: block.num_src], key) for name, block in thinned.items()}
        return [thinned[id(block)] for block in blocks]

    def _thinned(self, block: Block, nodes: Tensor, key: int) -> Block:
        degree, weighted = block.degree.float() * (1.0 - self.rate), block.weighted_degree
        weighted = None if weighted is None else weighted * (1.0 - self.rate)
        if self.kind == "dropnode":
            stays = self._keeps(hashing.stream(key, nodes))
            kept = stays[block.indices] & block.destinations(stays)[block.pattern.rows]
            degree, weighted = degree * stays, None if weighted is None else weighted * stays
        else:
            edges = hashing.stream(
                hashing.stream(key, nodes)[block.indices], block.destinations(nodes)[block.pattern.rows]
            )
            kept = self._keeps(edges)
        return block.thinned(kept, degree, weighted) if self.degrees == "expected" else block.thinned(kept)

    def _keeps(self, bits: Tensor) -> Tensor:
        """Whether 64 random bits mean to keep the node or edge."""
        return bits >= round(self.rate * 2**64) - 2**63
