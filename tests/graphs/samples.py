"""Comparing samples."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ugts_dist.graphs.sample import Sample


def equal(left: Sample, right: Sample) -> bool:
    """The same bits in the same types."""

    def parts(sample: Sample) -> list[Any]:
        hops = [(hop.num_src, hop.num_dst, hop.indptr, hop.indices, hop.edges) for hop in sample.hops]
        flat = [sample.step, sample.num_seeds, sample.nodes, *(part for hop in hops for part in hop)]
        return [(part.dtype, part.tolist()) if isinstance(part, Tensor) else part for part in flat]

    return parts(left) == parts(right)
