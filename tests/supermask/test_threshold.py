from __future__ import annotations

import math
import struct
from collections.abc import Sequence

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.processes import RankError, spawn
from ugts_dist.supermask import kth_smallest
from ugts_dist.supermask.threshold import CHUNK, Segments, _DeviceCandidates, _HostCandidates, by_sort

SPECIAL = [
    0.0,
    -0.0,
    math.inf,
    -math.inf,
    2.0**-149,  # the smallest subnormal number
    -(2.0**-149),
    2.0**-126 - 2.0**-149,  # the largest
    2.0**-126,
    1.0,
    -1.0,
    1.0 + 2.0**-23,
    1.0 - 2.0**-24,
    (2.0 - 2.0**-23) * 2.0**127,  # the largest finite number
    -(2.0 - 2.0**-23) * 2.0**127,
]
floats = st.one_of(st.floats(width=32, allow_nan=False), st.sampled_from(SPECIAL))


def sorted_floats(values: Sequence[float]) -> list[float]:
    """Ascending, with -0.0 before 0.0: Python's own sort, without bit operations."""
    return sorted(values, key=lambda value: (value, math.copysign(1.0, value)))


def bits(values: Sequence[float] | Tensor) -> list[bytes]:
    return [struct.pack("<f", value) for value in (values.tolist() if isinstance(values, Tensor) else values)]


@given(st.lists(floats, min_size=1, max_size=40))
def test_every_rank_of_a_list_is_that_of_a_sort(values: list[float]) -> None:
    scores = torch.tensor(values)
    thresholds = kth_smallest([[scores]] * len(values), range(len(values)))
    assert bits(thresholds) == bits(sorted_floats(values))


@given(st.lists(st.lists(st.lists(floats, max_size=8), min_size=1, max_size=4), min_size=1, max_size=4), st.data())
def test_groups_of_several_tensors_are_sorted_each_on_its_own(
    groups: list[list[list[float]]], data: st.DataObject
) -> None:
    groups = [group for group in groups if any(group)] or [[[1.0]]]
    merged = [sorted_floats([value for tensor in group for value in tensor]) for group in groups]
    ks = [data.draw(st.integers(0, len(values) - 1)) for values in merged]
    thresholds = kth_smallest([[torch.tensor(values) for values in group] for group in groups], ks)
    assert bits(thresholds) == bits([values[k] for values, k in zip(merged, ks, strict=True)])


@given(st.lists(st.lists(st.lists(floats, max_size=8), min_size=1, max_size=4), min_size=1, max_size=4), st.data())
def test_one_sort_finds_the_scores_of_all_groups(groups: list[list[list[float]]], data: st.DataObject) -> None:
    groups = [group for group in groups if any(group)] or [[[1.0]]]
    merged = [sorted_floats([value for tensor in group for value in tensor]) for group in groups]
    ks = [data.draw(st.integers(0, len(values) - 1)) for values in merged]
    scores = [torch.tensor(values) for group in groups for values in group]
    segments = Segments.of([len(values) for values in merged], torch.device("cpu"))
    expected = bits([values[k] for values, k in zip(merged, ks, strict=True)])
    assert bits(by_sort(scores, torch.tensor(ks), segments.starts, segments.offsets)) == expected
    if len(groups) == 1:
        assert bits(by_sort(scores, torch.tensor(ks), None, None)) == expected


def test_special_values_in_every_order() -> None:
    values = SPECIAL * 3
    for shift in range(len(values)):
        scores = torch.tensor(values).roll(shift).reshape(-1, 2, 3)  # any shape
        thresholds = kth_smallest([[scores]] * len(values), range(len(values)))
        assert bits(thresholds) == bits(sorted_floats(values))


@pytest.mark.parametrize("size", [1, 2, 3, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5])
def test_sizes_around_a_chunk_agree_with_kthvalue(size: int) -> None:
    scores = torch.randn(size, generator=torch.Generator().manual_seed(size))
    for k in sorted({0, size // 3, size // 2, size - 1}):
        assert kth_smallest([[scores]], [k]).item() == scores.kthvalue(k + 1).values.item()


def test_ten_million_scores_with_ties() -> None:
    scores = torch.randn(10_000_000, generator=torch.Generator().manual_seed(0))
    scores[::3] = scores[0]
    ordered = scores.sort().values
    ks = [0, 4_000_000, 9_000_000, 9_999_999]
    assert torch.equal(kth_smallest([[scores.view(1000, -1), scores[:0]]] * len(ks), ks), ordered[ks])


@pytest.mark.parametrize("value", [0.0, -3.5, math.inf, -math.inf, 2.0**-149])
def test_equal_scores(value: float) -> None:
    assert bits(kth_smallest([[torch.full((1001,), value)]] * 3, [0, 500, 1000])) == bits([value] * 3)


def test_scores_that_are_not_contiguous() -> None:
    scores = torch.arange(60.0).reshape(6, 10)
    assert (
        kth_smallest([[scores.t()[::2], scores[:, 3]]], [20]).item()
        == sorted(scores.t()[::2].flatten().tolist() + scores[:, 3].tolist())[20]
    )


def test_scores_are_left_as_they_are() -> None:
    scores = torch.randn(500, requires_grad=True)
    before = scores.detach().clone()
    threshold = kth_smallest([[scores]], [100])
    assert torch.equal(scores, before)
    assert not threshold.requires_grad


@pytest.mark.parametrize("k", [-1, 5, 6])
def test_a_wrong_k_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match=rf"k is {k}, allowed is \[0, 5\)"):
        kth_smallest([[torch.zeros(3), torch.zeros(2)]], [k])


def test_an_empty_group_is_refused() -> None:
    with pytest.raises(ValueError, match=r"k is 0, allowed is \[0, 0\)"):
        kth_smallest([[torch.zeros(0)]], [0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int32])
def test_other_types_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(TypeError, match=f"scores are {dtype}, allowed is torch.float32"):
        kth_smallest([[torch.zeros(3), torch.zeros(4, dtype=dtype)]], [1])


# Over ranks. World size 1 is in the list because it takes the collective path with one process.
CASES = {
    "one score": [[[7.5]]],
    "fewer scores than ranks": [[[2.0], [-1.0]]],
    "special values": [[SPECIAL], [[value, -value] for value in SPECIAL]],
    "equal": [[[0.25] * 17, [0.25] * 3]],
}


def cases() -> list[tuple[list[list[Tensor]], list[int]]]:
    generator = torch.Generator().manual_seed(1)
    made = [([[torch.tensor(v) for v in group] for group in groups], [0] * len(groups)) for groups in CASES.values()]
    random = [torch.randn(shape, generator=generator) for shape in ((1433, 64), (64, 7), (1, 3, 5), (1001,))]
    random[0][::5] = random[0][0, 0].item()  # ties
    made.append(([random], [random[0].numel() // 3]))
    made.append(([[scores] for scores in random], [scores.numel() // 2 for scores in random]))
    made.append(([random, random[1:]], [sum(map(Tensor.numel, random)) - 1, 0]))
    return made


def _kth(rank: int) -> list[list[bytes]]:
    return [bits(kth_smallest(groups, ks, dist.group.WORLD)) for groups, ks in cases()]


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_every_rank_has_the_bits_of_one_sort(world_size: int) -> None:
    expected = [
        bits(
            [sorted_floats(torch.cat([t.flatten() for t in group]).tolist())[k] for group, k in zip(*case, strict=True)]
        )
        for case in cases()
    ]
    assert spawn(world_size, _kth) == [expected] * world_size


def _mixed(rank: int) -> None:
    kth_smallest([[torch.zeros(4), torch.zeros(4, dtype=torch.float64)]], [1], dist.group.WORLD)


def test_a_type_that_only_one_rank_would_count_is_refused_on_all() -> None:
    with pytest.raises(RankError, match=r"(?s)rank 0:.*TypeError: .*float64.*rank 1:.*TypeError: .*float64"):
        spawn(2, _mixed)


def _misleading() -> torch.Tensor:
    """Scores of which every `stride`-th, the sample of the search, is far from all others."""
    scores = torch.randn(300_000, generator=torch.Generator().manual_seed(5))
    scores[:: 300_000 // 16384 | 1] += 5
    return scores


def _kth_misleading(rank: int) -> list[bytes]:
    return bits(kth_smallest([[_misleading()]], [200_000], dist.group.WORLD))


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_a_sample_that_misleads_the_search_changes_nothing(world_size: int) -> None:
    expected = bits(_misleading().sort().values[200_000:200_001])
    assert spawn(world_size, _kth_misleading) == [expected] * world_size


@given(st.lists(st.lists(st.lists(floats, max_size=8), max_size=3), min_size=1, max_size=5), st.data())
def test_all_groups_counted_together_as_on_a_gpu_are_counted_as_each_alone(
    groups: list[list[list[float]]], data: st.DataObject
) -> None:
    shares = [[torch.tensor(values) for values in group] for group in groups]
    together, alone = _DeviceCandidates(shares, torch.device("cpu")), _HostCandidates(shares)
    prefix = torch.zeros(len(groups), dtype=torch.int32)
    for shift, bits in ((21, 11), (10, 11), (0, 10)):
        counts = together.histograms(prefix, shift, bits)
        assert torch.equal(counts, alone.histograms(prefix, shift, bits))
        digits = [data.draw(st.sampled_from(row.nonzero().flatten().tolist() or [0])) for row in counts]
        digit = torch.tensor(digits, dtype=torch.int32)
        prefix = digit - (1 << (bits - 1)) if shift + bits == 32 else (prefix << bits) | digit


@pytest.mark.gpu
def test_on_a_gpu_it_is_that_of_a_sort() -> None:
    generator = torch.Generator().manual_seed(0)
    special = torch.tensor([value for value in SPECIAL if math.isfinite(value)])
    sizes = [1, 7, 5000, 300_000, 20_000_000]  # the last one in several chunks
    groups = [torch.randn(size, generator=generator).cuda() for size in sizes]
    groups[2][: special.numel()] = special.cuda()
    groups[3][::3] = (groups[3][::3] * 4).round() / 4 + 0.0  # ties, of zeros with one sign
    ordered = [group.sort().values for group in groups]
    for share in (0.0, 0.3, 0.5, 0.999, 1.0):
        ranks = [int(share * (size - 1)) for size in sizes]
        thresholds = kth_smallest([list(group.split(1_000_003)) for group in groups], ranks)
        assert thresholds.is_cuda
        expected = torch.stack([values[k] for values, k in zip(ordered, ranks, strict=True)])
        assert torch.equal(thresholds, expected)
