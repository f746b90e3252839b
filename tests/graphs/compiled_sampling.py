"""The real compiler accepts the sampler's kernels, which it compiles for GPUs without one; `ptxas` makes machine code.

The kernels are compiled as they are launched: with the types of the sampler's own arrays. `test_device_sampling` runs
this file by itself.
"""

from __future__ import annotations

import os
import re
from itertools import product
from typing import Any

import pytest
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import KernelInterface

from ugts_dist import index_type
from ugts_dist.gpu_kernels import launch
from ugts_dist.graphs import sampling_kernels
from ugts_dist.graphs.device_sampling import MAX_FAN, DeviceSampler
from ugts_dist.hashing_kernels import numbers_below

from .helpers import random_graph

assert os.environ.get("TRITON_INTERPRET", "0") == "0"

SEEDS = torch.arange(17)
NEWEST = 90  # compute capability
slow = pytest.mark.slow


class NoGpu:
    """What Triton asks its driver for when it compiles."""

    def __init__(self, capability: int) -> None:
        self.target = GPUTarget("cuda", capability, 32)

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> int:
        return self.target.arch

    def get_current_stream(self, device: int) -> int:
        return 0


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Compile kernels instead of launching them: their names, and what became of them."""
    kernels: list[tuple[str, Any]] = []

    def compile_only(kernel: Any, grid: tuple[int, ...]) -> Any:
        def call(*args: Any, **kwargs: Any) -> None:
            kernels.append((kernel.fn.__name__, kernel.run(*args, grid=grid, warmup=True, **kwargs)))
            if kernel is sampling_kernels.count:
                args[2].zero_()  # the sizes of which a hop with all neighbours makes its arrays

        return call

    monkeypatch.setattr(KernelInterface, "__getitem__", compile_only)
    return kernels


def driver_for(capability: int) -> None:
    triton.runtime.driver.set_active(NoGpu(capability))


@pytest.mark.parametrize("capability", [pytest.param(75, marks=slow), pytest.param(80, marks=slow), NEWEST])
@pytest.mark.parametrize("fan_out", [[1], [5], pytest.param([15], marks=slow), [MAX_FAN], [-1]])
def test_every_fan_out(fan_out: list[int], capability: int, compiled: list[tuple[str, Any]]) -> None:
    driver_for(capability)
    graph = random_graph(30, 200)
    DeviceSampler(graph.indptr, graph.indices, fan_out, 0, with_edges=True).queue(0, SEEDS)
    drawn = "expand" if fan_out == [-1] else "draw"
    assert [name for name, _ in compiled] == ["enter", "count", drawn, "mark_first", "append", "relabel", "leave"]
    assert all(kernel.asm["cubin"] for _, kernel in compiled)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [20, 60, 2**31 - 1])  # nodes and edges are int64; only edges are; none is
def test_every_type(limit: int, compiled: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_type, "INT32_MAX", limit)
    driver_for(NEWEST)
    graph = random_graph(30, 200)
    for dtype, with_edges, fan in product((torch.int32, torch.int64), (False, True), (4, -1)):
        DeviceSampler(graph.indptr, graph.indices.to(dtype), [fan], 0, with_edges).queue(0, SEEDS)
    assert all(kernel.asm["cubin"] for _, kernel in compiled)
    assert len(compiled) == 7 * 8


def test_numbers_of_every_width(compiled: list[tuple[str, Any]]) -> None:
    """A key may be small, and a graph may have 2^31 edges or more."""
    driver_for(NEWEST)
    counters = torch.arange(4)
    for start, limit, size in product((1, 5, -7, 2**40, -(2**63)), (1, 16, 2**33), (1, 2**33)):
        launch(numbers_below, 4, counters, counters, start, limit, size)
    assert len({kernel.hash for _, kernel in compiled}) == 2**3


def test_the_draws_use_exact_operations(compiled: list[tuple[str, Any]]) -> None:
    """Shifts of unsigned numbers, products in double precision, truncation; nothing is fused or in single precision."""
    driver_for(NEWEST)
    graph = random_graph(30, 200)
    DeviceSampler(graph.indptr, graph.indices, [5], 0, with_edges=False).queue(0, SEEDS)
    code = dict(compiled)["draw"].asm["ptx"]
    for operation in ("shr.u64", "cvt.rn.f64.u64", "mul.f64|mul.rn.f64", "cvt.rzi.s64.f64"):
        assert re.search(operation, code), operation
    assert not re.search(r"fma|\.f32|\.f16", code)
