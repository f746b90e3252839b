from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.alone import needs_triton, run_alone
from ugts_dist import gpu_kernels
from ugts_dist.graphs.device_sampling import MAX_FAN, DeviceSampler
from ugts_dist.graphs.sampling import NeighborSampler

from .helpers import random_graph
from .samples import equal

HERE = Path(__file__).parent


fast_and_slow = pytest.mark.parametrize("which", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])


@needs_triton
@fast_and_slow
def test_kernels_in_the_interpreter(which: str) -> None:
    run_alone(HERE / "interpreted_sampling.py", {"TRITON_INTERPRET": "1"}, which)


@needs_triton
@fast_and_slow
def test_kernels_are_compiled(which: str, tmp_path: Path) -> None:
    run_alone(HERE / "compiled_sampling.py", {"TRITON_CACHE_DIR": str(tmp_path)}, which)


_WITHOUT_TRITON = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "triton":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
import torch
import ugts_dist
from ugts_dist.gpu_kernels import problem_on
from ugts_dist.graphs.sampling import NeighborSampler
import ugts_dist.training.run

sample = NeighborSampler(torch.tensor([0, 2, 2, 2]), torch.tensor([1, 2]), [1], 0).sample(0, torch.tensor([0]))
assert sample.nodes.numel() == 2
assert not {"ugts_dist.hashing_kernels", "ugts_dist.graphs.sampling_kernels"} & set(sys.modules)
assert problem_on(torch.device("cpu")) == "Triton is not installed"
"""


@pytest.mark.parametrize("code", [_WITHOUT_TRITON, "import sys, ugts_dist; assert 'triton' not in sys.modules"])
def test_triton_is_optional(code: str) -> None:
    """PyG and parts of torch import Triton if there is one; this package does so only to launch kernels."""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_cpu_uses_the_torch_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_kernels, "problem_on", lambda device: pytest.fail("asked for kernels on a CPU"))
    graph = random_graph(30, 200)
    assert NeighborSampler(graph.indptr, graph.indices, [2], 0)._on_device is None


@needs_triton
@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("fan_out", [[15, 10, 5], [1], [-1, 4], [MAX_FAN, -1]])
def test_a_gpu_draws_the_same(fan_out: list[int], dtype: torch.dtype) -> None:
    graph = random_graph(5000, 200_000)
    of_graph = (fan_out, 4, True)
    on_cpu = NeighborSampler(graph.indptr, graph.indices.to(dtype), *of_graph)
    on_gpu = NeighborSampler(graph.indptr.cuda(), graph.indices.to(dtype).cuda(), *of_graph)
    assert isinstance(on_gpu._on_device, DeviceSampler), gpu_kernels.problem_on(torch.device("cuda"))
    for step in range(4):
        seeds = torch.randperm(5000, generator=torch.Generator().manual_seed(step))[: 100 + step]
        sample = on_gpu.sample(step, seeds)
        assert sample.nodes.is_cuda
        assert equal(sample, on_cpu.sample(step, seeds))


@needs_triton
@pytest.mark.gpu
def test_no_operation_of_a_gpu_makes_the_host_wait() -> None:
    graph = random_graph(5000, 200_000)
    sampler = NeighborSampler(graph.indptr.cuda(), graph.indices.cuda(), [15, 10, 5], 4)
    on_device = sampler._on_device
    assert on_device is not None, gpu_kernels.problem_on(torch.device("cuda"))
    seeds = torch.arange(1000)
    sampler.sample(0, seeds)  # compiles the kernels
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        queued = [on_device.queue(step, seeds) for step in range(3)]
        samples = [one.sample() for one in queued]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    plain = NeighborSampler(graph.indptr, graph.indices, [15, 10, 5], 4)
    assert all(equal(sample, plain.sample(step, seeds)) for step, sample in enumerate(samples))
