"""The predicted step against sums by hand, and how it must react to faster and slower hardware."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scaling_model import Counted, Gpu, Link, predicted

GPU = Gpu("a GPU", flops=100.0, bytes=1000.0, flops_reached=0.5, bytes_reached=0.1, host=0.01, threads=3)
LINK = Link("a link", bandwidth=20.0, latency=0.5)
COUNTED = Counted(
    world_size=2,
    flops=200.0,
    moved=300.0,
    operations=96.0,
    loading_operations=600.0,
    loading=0.5,
    collectives=4.0,
    sent=60.0,
)


def test_sums_by_hand() -> None:
    step = predicted(COUNTED, GPU, LINK)
    assert step.host == pytest.approx(1.0)
    assert step.loading == pytest.approx(2.0)
    assert step.compute == pytest.approx((4.0 + 3.0) * 2)
    assert step.communication == pytest.approx(4 * 0.5 + 3.0)
    assert step.seconds == pytest.approx(19.0)
    assert step.limit == "GPU and network"


def test_the_slowest_part_counts() -> None:
    slow_host = predicted(COUNTED, replace(GPU, host=1.0), LINK)
    assert slow_host.seconds == pytest.approx(200.0)
    assert slow_host.limit == "batches"
    many_threads = predicted(COUNTED, replace(GPU, host=1.0, threads=100), LINK)
    assert many_threads.seconds == pytest.approx(100.0)
    assert many_threads.limit == "host"


def test_one_rank_has_nobody_to_talk_to() -> None:
    step = predicted(replace(COUNTED, world_size=1), GPU, LINK)
    assert step.communication == 0.0
    assert step.host == pytest.approx(0.96)


@given(factor=st.floats(1.0, 100.0), field=st.sampled_from(["bandwidth", "latency"]))
def test_a_better_link_is_never_slower(factor: float, field: str) -> None:
    better = replace(LINK, bandwidth=20.0 * factor) if field == "bandwidth" else replace(LINK, latency=0.5 / factor)
    assert predicted(COUNTED, GPU, better).seconds <= predicted(COUNTED, GPU, LINK).seconds
