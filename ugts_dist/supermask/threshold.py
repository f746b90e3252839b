"""The exact k-th smallest score, in one process or collectively over ranks.

Radix selection on order-preserving integer keys: three rounds count the 11, 11 and 10 bits of the scores that are
still candidates. Over ranks, each rank counts its own share and the counts are all-gathered, so that every rank
computes the same bits while only the histograms travel, never the scores. In one process it is the same code with
one share. Chunks of the size of a cache make it several times as fast as `torch.kthvalue` on a CPU; on a GPU no
step has a shape that depends on data, so that the host never waits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

_ROUNDS = ((21, 11), (10, 11), (0, 10))  # (shift, bits)
CHUNK = 1 << 18  # scores; one megabyte stays in a core's cache


def kth_smallest(
    groups: Sequence[Sequence[Tensor]], ranks: Sequence[int], process_group: dist.ProcessGroup | None = None
) -> Tensor:
    """The `ranks[g]`-th smallest value (counted from 0) of all tensors in `groups[g]`, for each group.

    Args:
        groups: float32 tensors of any shape, the same on every rank of `process_group`.
        ranks: one number in [0, size of the group) for each group.
        process_group: ranks that share the counting; None means this process alone.

    Returns: float32 `[num_groups]`, bit for bit the same on every rank.
    """
    rank, world_size = (dist.get_rank(process_group), dist.get_world_size(process_group)) if process_group else (0, 1)
    for group, k in zip(groups, ranks, strict=True):
        size = sum(scores.numel() for scores in group)
        if not 0 <= k < size:
            raise ValueError(f"k-th smallest: k is {k}, allowed is [0, {size})")
    device = groups[0][0].device
    remaining = torch.tensor(list(ranks), dtype=torch.int64, device=device)
    prefix = torch.zeros(len(groups), dtype=torch.int32, device=device)
    candidates = [list(_keys(share)) for share in (_share(group, rank, world_size) for group in groups)]
    for number, (shift, bits) in enumerate(_ROUNDS):
        if number:
            candidates = [_narrow(keys, prefix[g], shift + bits) for g, keys in enumerate(candidates)]
        counts = torch.stack([_histogram(keys, prefix[g], shift, bits, device) for g, keys in enumerate(candidates)])
        counts = _sum_over_ranks(counts, process_group, world_size)
        cumulative = counts.cumsum(1)
        digit = torch.searchsorted(cumulative, remaining[:, None], right=True)
        below = (cumulative - counts).gather(1, digit)
        remaining = remaining - below.squeeze(1)
        digit = digit.squeeze(1).to(torch.int32)
        # The first digit holds the sign: its bins run from the most negative key upwards.
        prefix = digit - (1 << (bits - 1)) if number == 0 else (prefix << bits) | digit
    return _flip(prefix).view(torch.float32)


def _flip(bits: Tensor) -> Tensor:
    """float32 bits to int32 keys of the same order, and back: negative floats count downwards."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def _share(tensors: Sequence[Tensor], rank: int, world_size: int) -> Iterator[Tensor]:
    """This rank's contiguous share of the tensors, taken as one long vector; views, no copies."""
    size = sum(scores.numel() for scores in tensors)
    start, stop = size * rank // world_size, size * (rank + 1) // world_size
    offset = 0
    for scores in tensors:
        low, high = max(start - offset, 0), min(stop - offset, scores.numel())
        if low < high:
            yield scores.detach().reshape(-1)[low:high]
        offset += scores.numel()


def _keys(pieces: Iterator[Tensor]) -> Iterator[Tensor]:
    for piece in pieces:
        if piece.dtype != torch.float32:
            raise TypeError(f"k-th smallest: scores are {piece.dtype}, allowed is torch.float32")
        for chunk in [piece] if piece.is_cuda else piece.split(CHUNK):
            yield _flip(chunk.view(torch.int32))


def _narrow(keys: list[Tensor], prefix: Tensor, shift: int) -> list[Tensor]:
    """The keys that begin with `prefix`. On a GPU all of them, since a dynamic shape would make the host wait."""
    return [chunk if chunk.is_cuda else chunk[(chunk >> shift) == prefix] for chunk in keys]


def _histogram(keys: list[Tensor], prefix: Tensor, shift: int, bits: int, device: torch.device) -> Tensor:
    """How often each digit occurs among the keys that begin with `prefix`: int64 `[2 ** bits]`."""
    bins = 1 << bits
    first = shift + bits == 32
    counts = torch.zeros(bins, dtype=torch.int64, device=device)
    for chunk in keys:
        digit = (chunk >> shift) + bins // 2 if first else (chunk >> shift) & (bins - 1)
        if chunk.is_cuda:
            if not first:
                digit = torch.where((chunk >> (shift + bits)) == prefix, digit, -1)
            counts += torch.histc(digit.float(), bins, 0, bins).long()  # histc leaves out what is out of range
        else:
            counts += torch.bincount(digit, minlength=bins)
    return counts


def _sum_over_ranks(counts: Tensor, process_group: dist.ProcessGroup | None, world_size: int) -> Tensor:
    if world_size == 1:
        return counts
    gathered = [torch.empty_like(counts) for _ in range(world_size)]
    dist.all_gather(gathered, counts, group=process_group)
    return torch.stack(gathered).sum(0)
