"""What a step sees: norms, parts of a step, precision, placement."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from tests.processes import spawn
from tests.training.helpers import config, equal_share, fit_rank, planted_graph
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.evaluation.feature_tables import FeatureTables
from ugts_dist.models import Rows, SparseFeatures
from ugts_dist.supermask import Ticket
from ugts_dist.tasks.batches import Batch, make_batches
from ugts_dist.tasks.placement import evaluation_device, placed
from ugts_dist.training.fit import fit
from ugts_dist.training.run import run


def first(settings: Config) -> Batch:
    batches: Any = make_batches(planted_graph(), settings, Ranks())
    return next(batches.epoch(0))


def test_the_sampled_norm_is_pygs() -> None:
    batch = first(config(batch__norm="sampled"))
    for block in batch.blocks:
        rows = torch.arange(block.num_dst).repeat_interleave(block.indptr.diff())
        edges = torch.stack([block.indices.long(), rows])
        theirs, weights = gcn_norm(edges, num_nodes=block.num_src)
        expected = torch.zeros(block.num_dst, block.num_src)
        kept = theirs[1] < block.num_dst
        expected[theirs[1, kept], theirs[0, kept]] = weights[kept]
        pattern, _ = block.looped
        matrix = torch.zeros(block.num_dst, block.num_src)
        matrix[pattern.rows, pattern.indices.long()] = block.gcn_values
        torch.testing.assert_close(matrix, expected)


def test_the_full_norm_is_unbiased() -> None:
    """Averaged over many steps, the sampled aggregation is that over all neighbours."""
    graph = planted_graph()
    settings = config(model__depth=1, batch__fan_out=[5], batch__size=100, run__epochs=600)
    batches: Any = make_batches(graph, settings, Ranks())
    total = torch.zeros(graph.num_nodes, graph.num_features)
    for number in range(600):
        for batch in batches.epoch(number):
            pattern, _ = batch.blocks[0].looped
            total[batch.nodes[:100]] += pattern.matmul(batch.blocks[0].gcn_values, batch.x.gather())
    rows = torch.arange(graph.num_nodes).repeat_interleave(graph.degree)
    theirs, weights = gcn_norm(torch.stack([graph.indices.long(), rows]), num_nodes=graph.num_nodes)
    matrix = torch.zeros(graph.num_nodes, graph.num_nodes).index_put((theirs[1], theirs[0]), weights)
    difference = (total / 600 - matrix @ graph.x)[graph.train]
    assert difference.abs().mean() < 0.02
    assert abs(float(difference.mean())) < 0.003


def test_features_are_read_where_they_lie() -> None:
    graph = planted_graph()
    batch = first(config())
    assert isinstance(batch.x, Rows)
    assert torch.equal(batch.x.gather(), graph.x[batch.nodes])
    sparse = dataclasses.replace(graph, x=graph.x * (graph.x > 2.2))
    rows = next(iter(make_batches(sparse, config(), Ranks()).epoch(0)))
    assert isinstance(rows.x, SparseFeatures)
    assert rows.x.shape == (rows.nodes.numel(), graph.num_features)
    assert int((sparse.x[rows.nodes] != 0).sum()) == rows.x.values.numel()


def test_every_tensor_of_a_batch_is_named() -> None:
    """Those that hold the features and the edges, what was computed ahead of them included."""
    batch = first(config())
    named = {tensor.data_ptr() for tensor in batch.tensors()}
    pattern = batch.blocks[1].looped[0]
    for tensor in (batch.y, batch.nodes, batch.blocks[0].indices, pattern.indices, pattern.transposed[1]):
        assert tensor.data_ptr() in named


def _fit(settings: Config, folder: Path) -> tuple[Any, dict[str, torch.Tensor]]:
    folder.mkdir()
    result = fit(settings, planted_graph(), Ranks(), folder)
    return result, Ticket.load(folder / "best.ticket").masks


def test_parts_of_a_step_give_its_gradient(tmp_path: Path) -> None:
    whole, masks = _fit(config(), tmp_path / "whole")
    cut, in_parts = _fit(config(batch__micro_batches=7), tmp_path / "cut")
    assert cut.epoch == whole.epoch
    assert equal_share(in_parts, masks) >= 0.999


def test_parts_on_two_ranks(tmp_path: Path) -> None:
    _, masks = _fit(config(), tmp_path / "whole")
    (tmp_path / "ranks").mkdir()
    results = spawn(2, fit_rank, 2, config(batch__micro_batches=3), str(tmp_path / "ranks"))
    assert equal_share(results[0][1], masks) >= 0.999


@pytest.mark.parametrize(
    "arch", ["gcn", *(pytest.param(arch, marks=pytest.mark.slow) for arch in ("sage", "gin", "gat"))]
)
def test_bfloat16_finds_a_ticket_as_good(arch: str, tmp_path: Path) -> None:
    precise, _ = _fit(config(model__arch=arch, run__epochs=20), tmp_path / "float32")
    rough, _ = _fit(config(model__arch=arch, run__epochs=20, optim__precision="bfloat16"), tmp_path / "bfloat16")
    assert rough.valid > 0.5, "four classes"
    assert abs(rough.valid - precise.valid) < 0.1
    assert abs(rough.sparsity - precise.sparsity) < 0.01


def test_compressed_gradients_need_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^optim\.compress is True, but the ranks are on the CPU; allowed is False"):
        run(config(optim__compress=True, run__folder=str(tmp_path / "run")), Ranks())
    assert not (tmp_path / "run").exists()


def test_threads_change_nothing(tmp_path: Path) -> None:
    _, masks = _fit(config(), tmp_path / "none")
    _, threaded = _fit(config(batch__threads=2), tmp_path / "two")
    assert equal_share(threaded, masks) == 1.0


def test_a_gpu_is_not_made_up() -> None:
    graph, settings = planted_graph(), config(batch__placement="device")
    with pytest.raises(
        InputError, match=r"^batch\.placement is device, but the run is on the CPU; allowed: auto or host$"
    ):
        placed(graph, settings, Ranks(), FeatureTables(graph))
    for placement in ("auto", "host"):
        assert placed(graph, config(batch__placement=placement), Ranks(), FeatureTables(graph)) is graph
    assert evaluation_device(planted_graph(), config(), Ranks()) == torch.device("cpu")


@pytest.mark.gpu
@pytest.mark.parametrize("placement", ["host", "device"])
def test_batches_on_a_gpu_are_those_of_the_cpu(placement: str) -> None:
    graph, settings = planted_graph(), config(batch__placement=placement, batch__threads=2)
    device: Any = make_batches(graph, settings, Ranks(device=torch.device("cuda")))
    host: Any = make_batches(graph, config(), Ranks())
    for on_gpu, on_cpu in zip(device.epoch(1), host.epoch(1), strict=True):
        assert torch.equal(on_gpu.nodes.cpu(), on_cpu.nodes)
        assert torch.equal(on_gpu.y.cpu(), on_cpu.y)
        x = on_gpu.x.gather() if isinstance(on_gpu.x, Rows) else on_gpu.x
        assert torch.equal(x.cpu(), on_cpu.x.gather())
        for block, other in zip(on_gpu.blocks, on_cpu.blocks, strict=True):
            assert torch.equal(block.indptr.cpu(), other.indptr)
            assert torch.equal(block.indices.cpu(), other.indices)
