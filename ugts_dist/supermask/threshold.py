"""The exact k-th smallest score, in one process or collectively over ranks.

The algorithm is radix selection on order-preserving integer keys: three rounds count the 11, 11 and 10 bits of the
scores that are still candidates. With several ranks, each counts its own share, and the counts are all-gathered. Every
rank computes the same bits, and only histograms are communicated. A single process runs the same code with one share.

On a CPU, only scores near the k-th are counted: a sample gives bounds, and one pass over cache-sized chunks keeps
the scores within these. If the sample was wrong, all scores are counted. On a GPU one process sorts the keys; several
count all groups together. The number of kernels does not grow with the number of groups, and no shape depends on data,
so that the host never waits.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor

from ugts_dist.gpu_kernels import problem_on
from ugts_dist.operators import operator
from ugts_dist.supermask.device_histograms import chunks_of, histograms

_ROUNDS = ((21, 11), (10, 11), (0, 10))  # (shift, bits)
CHUNK = 1 << 18  # scores; one megabyte, which fits a core's cache
_SORTED = 1 << 27  # most scores that a GPU sorts; it counts more than these
_SAMPLE = 1 << 14  # scores in the sample that bounds the k-th
_CUDA_CHUNK = 1 << 24  # scores; bounds the memory of the counting on a GPU


def kth_smallest(
    groups: Sequence[Sequence[Tensor]],
    ranks: Sequence[int] | Tensor,
    process_group: dist.ProcessGroup | None = None,
    segments: Segments | None = None,
) -> Tensor:
    """The `ranks[g]`-th smallest value (counted from 0) of all tensors in `groups[g]`, for each group.

    Args:
        groups: float32 tensors of any shape, the same on every rank of `process_group`.
        ranks: one number in [0, size of the group) for each group. A tensor, int64 `[num_groups]` on the device of the
            scores, is not checked.
        process_group: ranks that share the counting; None: this process alone.
        segments: of these groups; with them a GPU sorts the scores of several groups at once.

    Returns: float32 `[num_groups]`, with the same bits on every rank.
    """
    device = groups[0][0].device
    scores = [one.detach() for group in groups for one in group]
    for one in scores:
        if one.dtype != torch.float32:
            raise TypeError(f"k-th smallest: scores are {one.dtype}, allowed is torch.float32")
    if not isinstance(ranks, Tensor):
        for group, k in zip(groups, ranks, strict=True):
            size = _size(group)
            if not 0 <= k < size:
                raise ValueError(f"k-th smallest: k is {k}, allowed is [0, {size})")
        ranks = to_device(list(ranks), torch.int64, device)
    if process_group is None:
        starts, offsets = (None, None) if segments is None else (segments.starts, segments.offsets)
        return selected(scores, [len(group) for group in groups], ranks, starts, offsets)
    return by_counting(groups, ranks, process_group)


@dataclass(frozen=True, eq=False)
class Segments:
    """What tells groups apart in one sort of all scores.

    Attributes:
        starts: the number of scores before each group, int64 `[num_groups]`.
        offsets: added to the key of each score, int64 `[num_scores]`.
    """

    starts: Tensor
    offsets: Tensor

    @classmethod
    def of(cls, sizes: Sequence[int], device: torch.device) -> Segments:
        """For groups with these numbers of scores."""
        starts = list(itertools.accumulate(sizes[:-1], initial=0))
        group = torch.arange(len(sizes), device=device) << 32
        counts = to_device(list(sizes), torch.int64, device)
        return cls(to_device(starts, torch.int64, device), group.repeat_interleave(counts, output_size=sum(sizes)))


@operator("kth_smallest(Tensor[] scores, int[] counts, Tensor ranks, Tensor? starts, Tensor? offsets) -> Tensor")
def selected(
    scores: Sequence[Tensor], counts: Sequence[int], ranks: Tensor, starts: Tensor | None, offsets: Tensor | None
) -> Tensor:
    """`kth_smallest` in one process, as one operation: `counts[g]` consecutive tensors are group g."""
    if ranks.is_cuda and (len(counts) == 1 or offsets is not None) and _size(scores) <= _SORTED:
        return by_sort(scores, ranks, starts, offsets)
    parts = iter(scores)
    return by_counting([list(itertools.islice(parts, count)) for count in counts], ranks)


def by_sort(scores: Sequence[Tensor], ranks: Tensor, starts: Tensor | None, offsets: Tensor | None) -> Tensor:
    """`selected` by one sort of integer keys: at most nine operations for any number of tensors and groups.

    On a GPU each of them costs more to start than to run.
    """
    flat = torch.cat([one.reshape(-1) for one in scores])
    keys = _flip(flat.view(torch.int32))
    order = (keys if offsets is None else keys + offsets).sort().indices
    return flat[order[ranks if starts is None else ranks + starts]]


def by_counting(
    groups: Sequence[Sequence[Tensor]], ranks: Tensor, process_group: dist.ProcessGroup | None = None
) -> Tensor:
    """`kth_smallest` by radix selection; with a process group, the ranks share the counting."""
    device = ranks.device
    rank, world_size = (dist.get_rank(process_group), dist.get_world_size(process_group)) if process_group else (0, 1)
    remaining = ranks
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
        # The first digit includes the sign: its bins run from the most negative key upwards.
        prefix = digit - (1 << (bits - 1)) if number == 0 else (prefix << bits) | digit
    return _flip(prefix).view(torch.float32)


def _size(scores: Sequence[Tensor]) -> int:
    return sum(one.numel() for one in scores)


def _flip(bits: Tensor) -> Tensor:
    """Convert float32 bits to int32 keys of the same order, and back. Negative floats have descending bits."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def _share(tensors: Sequence[Tensor], rank: int, world_size: int) -> Iterator[Tensor]:
    """This rank's contiguous share of the tensors, seen as one long vector; views, no copies."""
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
    """The scores of each share that are near the k-th, and the k among those. Small groups stay whole."""
    large = [g for g, group in enumerate(groups) if sum(scores.numel() for scores in group) > 4 * _SAMPLE]
    if not large:
        return shares, remaining
    shares, kept, counts = list(shares), {}, torch.zeros(len(groups), 2, dtype=torch.int64)
    for g in large:
        low, high = _bracket(groups[g], int(remaining[g]))
        below = 0
        near: list[npt.NDArray[np.float32]] = [np.empty(0, np.float32)]
        for chunk in (chunk for piece in shares[g] for chunk in piece.split(CHUNK)):
            values = chunk.numpy()  # numpy's comparisons are several times as fast as torch's
            reached = values >= low
            below += values.size - np.count_nonzero(reached)
            near.append(values[reached & (values <= high)])
        kept[g] = torch.from_numpy(np.concatenate(near))
        counts[g] = torch.tensor([below, kept[g].numel()])
    lower, inside = _sum_over_ranks(counts, process_group, world_size).unbind(1)
    is_near = (lower <= remaining) & (remaining < lower + inside)
    for g in large:
        if is_near[g]:
            shares[g] = [kept[g]]
    return shares, torch.where(is_near, remaining - lower, remaining)


def _bracket(group: Sequence[Tensor], k: int) -> tuple[float, float]:
    """Two scores of a sample, the same on every rank, that bound the k-th with high probability."""
    size = sum(scores.numel() for scores in group)
    stride = size // _SAMPLE | 1  # odd, so that it visits all columns of the usual widths
    sample = torch.cat([scores.detach().reshape(-1)[::stride] for scores in group])
    place, margin = sample.numel() * k / size, 8 + 6 * math.sqrt(sample.numel() * k / size * (1 - k / size))
    low, high = round(place - margin), round(place + margin)
    return (
        float(sample.kthvalue(low).values) if low >= 1 else -math.inf,
        float(sample.kthvalue(high).values) if high <= sample.numel() else math.inf,
    )


def to_device(values: Sequence[float], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Numbers of the host as a tensor `[len(values)]` on a device, without waiting for the device's queue."""
    if device.type == "cpu":
        return torch.tensor(values, dtype=dtype)
    return torch.tensor(values, dtype=dtype, pin_memory=True).to(device, non_blocking=True)


class _HostCandidates:
    """The keys of each group that begin with the digits found so far: fewer in each round."""

    def __init__(self, shares: Sequence[Sequence[Tensor]]) -> None:
        self._keys = [[_flip(c.view(torch.int32)) for piece in share for c in piece.split(CHUNK)] for share in shares]

    def histograms(self, prefix: Tensor, shift: int, bits: int) -> Tensor:
        """Counts of the next digit: int64 `[num_groups, 2 ** bits]`."""
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
    """The keys of all groups as one tensor on a GPU. All of them stay, as a dynamic shape would make the host wait."""

    def __init__(self, shares: Sequence[Sequence[Tensor]], device: torch.device) -> None:
        pieces = [piece.view(torch.int32) for share in shares for piece in share]
        sizes = [sum(piece.numel() for piece in share) for share in shares]
        self._keys = _flip(torch.cat(pieces)) if pieces else torch.empty(0, dtype=torch.int32, device=device)
        self._chunks: Tensor | None = None
        if pieces and device.type == "cuda" and not problem_on(device):
            numbers = list(itertools.chain.from_iterable(chunks_of(sizes)))
            self._chunks = to_device(numbers, torch.int64, device).view(-1, 3)
            return
        ends = to_device(list(itertools.accumulate(sizes[:-1])), torch.int64, device)
        places = torch.arange(sum(sizes), device=device)
        self._groups = torch.bucketize(places, ends, right=True, out_int32=True)  # the group of each key

    def histograms(self, prefix: Tensor, shift: int, bits: int) -> Tensor:
        """Counts of the next digit: int64 `[num_groups, 2 ** bits]`."""
        if self._chunks is not None:
            with torch.cuda.device(prefix.device):
                return histograms(self._keys, self._chunks, prefix, shift, bits)
        bins, first = prefix.numel() << bits, shift + bits == 32
        counts = torch.zeros(bins, dtype=torch.int64, device=prefix.device)
        for keys, groups in zip(self._keys.split(_CUDA_CHUNK), self._groups.split(_CUDA_CHUNK), strict=True):
            bin_of_key = (groups << bits) + _digits(keys, shift, bits)
            if not first:
                bin_of_key = torch.where((keys >> (shift + bits)) == prefix[groups], bin_of_key, -1)
            # `histc` ignores values out of range; in float64 its bins and counts are exact. `bincount` would wait.
            counts += torch.histc(bin_of_key.double(), bins, 0, bins).long()
        return counts.view(prefix.numel(), -1)


def _digits(keys: Tensor, shift: int, bits: int) -> Tensor:
    """The next digit of each key, counted from 0; the first digit includes the sign."""
    if shift + bits == 32:
        return (keys >> shift) + (1 << (bits - 1))
    return (keys >> shift) & ((1 << bits) - 1)


def _sum_over_ranks(counts: Tensor, process_group: dist.ProcessGroup | None, world_size: int) -> Tensor:
    if world_size == 1:
        return counts
    gathered = [torch.empty_like(counts) for _ in range(world_size)]
    dist.all_gather(gathered, counts, group=process_group)
    return torch.stack(gathered).sum(0)
