"""The exact k-th smallest score, in one process or collectively over ranks.

Radix selection on order-preserving integer keys: three rounds count the 11, 11 and 10 bits of the scores that are
still candidates. Over ranks, each rank counts its own share and the counts are all-gathered, so that every rank
computes the same bits while only the histograms travel, never the scores. In one process it is the same code with
one share. On a CPU only scores near the k-th are counted that way: a sample says where it must lie, one pass over
chunks of the size of a cache keeps what lies there, and where the sample was wrong all scores are counted. On a GPU
all groups are counted together, in a number of kernels that does not grow with theirs, and no step has a shape that
depends on data, so that the host never waits.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor

_ROUNDS = ((21, 11), (10, 11), (0, 10))  # (shift, bits)
CHUNK = 1 << 18  # scores; one megabyte stays in a core's cache
_SAMPLE = 1 << 14  # scores that say where the k-th of many must lie
_CUDA_CHUNK = 1 << 24  # scores; bounds the memory that counting them takes on a GPU


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
        for scores in group:
            if scores.dtype != torch.float32:
                raise TypeError(f"k-th smallest: scores are {scores.dtype}, allowed is torch.float32")
        size = sum(scores.numel() for scores in group)
        if not 0 <= k < size:
            raise ValueError(f"k-th smallest: k is {k}, allowed is [0, {size})")
    device = groups[0][0].device
    remaining = sent(list(ranks), torch.int64, device)
    prefix = torch.zeros(len(groups), dtype=torch.int32, device=device)
    shares = [list(_share(group, rank, world_size)) for group in groups]
    candidates: _HostCandidates | _DeviceCandidates
    if device.type == "cpu":
        shares, remaining = _near(groups, shares, remaining, process_group, world_size)
        candidates = _HostCandidates(shares)
    else:
        candidates = _DeviceCandidates(shares, device)
    for number, (shift, bits) in enumerate(_ROUNDS):
        counts = candidates.histograms(prefix, shift, bits)
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


def _near(
    groups: Sequence[Sequence[Tensor]],
    shares: list[list[Tensor]],
    remaining: Tensor,
    process_group: dist.ProcessGroup | None,
    world_size: int,
) -> tuple[list[list[Tensor]], Tensor]:
    """Of each share only the scores near the k-th, and the k that is left among those; small groups stay whole."""
    large = [g for g, group in enumerate(groups) if sum(scores.numel() for scores in group) > 4 * _SAMPLE]
    if not large:
        return shares, remaining
    shares, kept, counts = list(shares), {}, torch.zeros(len(groups), 2, dtype=torch.int64)
    for g in large:
        low, high = _bracket(groups[g], int(remaining[g]))
        below = 0
        near: list[npt.NDArray[np.float32]] = [np.empty(0, np.float32)]
        for chunk in (chunk for piece in shares[g] for chunk in piece.split(CHUNK)):
            values = chunk.numpy()  # whose comparisons are several times as fast as torch's
            reached = values >= low
            below += values.size - np.count_nonzero(reached)
            near.append(values[reached & (values <= high)])
        kept[g] = torch.from_numpy(np.concatenate(near))
        counts[g] = torch.tensor([below, kept[g].numel()])
    lower, inside = _sum_over_ranks(counts, process_group, world_size).unbind(1)
    found = (lower <= remaining) & (remaining < lower + inside)
    for g in large:
        if found[g]:
            shares[g] = [kept[g]]
    return shares, torch.where(found, remaining - lower, remaining)


def _bracket(group: Sequence[Tensor], k: int) -> tuple[float, float]:
    """Two scores of a sample, the same on every rank, that most likely have the k-th between them."""
    size = sum(scores.numel() for scores in group)
    stride = size // _SAMPLE | 1  # odd, so that it does not stay in the same columns of the usual widths
    sample = torch.cat([scores.detach().reshape(-1)[::stride] for scores in group])
    place, margin = sample.numel() * k / size, 8 + 6 * math.sqrt(sample.numel() * k / size * (1 - k / size))
    low, high = round(place - margin), round(place + margin)
    return (
        float(sample.kthvalue(low).values) if low >= 1 else -math.inf,
        float(sample.kthvalue(high).values) if high <= sample.numel() else math.inf,
    )


def sent(values: Sequence[float], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Numbers of the host as a tensor on a device, `[len(values)]`, without a wait for what is queued there."""
    if device.type == "cpu":
        return torch.tensor(values, dtype=dtype)
    return torch.tensor(values, dtype=dtype, pin_memory=True).to(device, non_blocking=True)


class _HostCandidates:
    """The keys of each group that begin with the digits found so far: fewer from round to round."""

    def __init__(self, shares: Sequence[Sequence[Tensor]]) -> None:
        self._keys = [[_flip(c.view(torch.int32)) for piece in share for c in piece.split(CHUNK)] for share in shares]

    def histograms(self, prefix: Tensor, shift: int, bits: int) -> Tensor:
        """How often each digit comes next: int64 `[num_groups, 2 ** bits]`."""
        bins, first = 1 << bits, shift + bits == 32
        counts = torch.zeros(len(self._keys), bins, dtype=torch.int64)
        for g, chunks in enumerate(self._keys):
            if not first:
                chunks = [chunk[(chunk >> (shift + bits)) == prefix[g]] for chunk in chunks]
                self._keys[g] = chunks
            for chunk in chunks:
                counts[g] += torch.bincount(_digits(chunk, shift, bits), minlength=bins)
        return counts


class _DeviceCandidates:
    """The keys of all groups as one tensor on a GPU, all of which stay: a dynamic shape would make the host wait."""

    def __init__(self, shares: Sequence[Sequence[Tensor]], device: torch.device) -> None:
        pieces = [piece.view(torch.int32) for share in shares for piece in share]
        sizes = [sum(piece.numel() for piece in share) for share in shares]
        self._keys = _flip(torch.cat(pieces)) if pieces else torch.empty(0, dtype=torch.int32, device=device)
        ends = sent(list(itertools.accumulate(sizes[:-1])), torch.int64, device)
        places = torch.arange(sum(sizes), device=device)
        self._groups = torch.bucketize(places, ends, right=True, out_int32=True)  # which group each key is of

    def histograms(self, prefix: Tensor, shift: int, bits: int) -> Tensor:
        """How often each digit comes next: int64 `[num_groups, 2 ** bits]`."""
        bins, first = prefix.numel() << bits, shift + bits == 32
        counts = torch.zeros(bins, dtype=torch.int64, device=prefix.device)
        for keys, groups in zip(self._keys.split(_CUDA_CHUNK), self._groups.split(_CUDA_CHUNK), strict=True):
            bin_of_key = (groups << bits) + _digits(keys, shift, bits)
            if not first:
                bin_of_key = torch.where((keys >> (shift + bits)) == prefix[groups], bin_of_key, -1)
            # `histc` leaves out what is out of range, and in float64 bins and counts are exact; `bincount` would wait.
            counts += torch.histc(bin_of_key.double(), bins, 0, bins).long()
        return counts.view(prefix.numel(), -1)


def _digits(keys: Tensor, shift: int, bits: int) -> Tensor:
    """The next digit of each key, counted from 0; the first one holds the sign."""
    if shift + bits == 32:
        return (keys >> shift) + (1 << (bits - 1))
    return (keys >> shift) & ((1 << bits) - 1)


def _sum_over_ranks(counts: Tensor, process_group: dist.ProcessGroup | None, world_size: int) -> Tensor:
    if world_size == 1:
        return counts
    gathered = [torch.empty_like(counts) for _ in range(world_size)]
    dist.all_gather(gathered, counts, group=process_group)
    return torch.stack(gathered).sum(0)
