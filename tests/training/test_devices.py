"""What is computed on a GPU is what is computed on a CPU; and what reaches its sparse products is what they read."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.helpers import config, planted_graph
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.evaluation.evaluator import Evaluator
from ugts_dist.graphs.graph import Graph
from ugts_dist.models import Dropout, Rows
from ugts_dist.models.sparse import Pattern
from ugts_dist.tasks import NodeTask
from ugts_dist.training.trainer import autocast, make_trainer

ARCHS = ["gcn", "gin", "gin-paper", "gat", "sage"]
PATHS: dict[str, dict[str, Any]] = {
    "sampled": {},
    "sampled, dropout": {"model__dropout": 0.5},
    "sampled, from the host": {"batch__placement": "host"},
    "sampled, bfloat16": {"optim__precision": "bfloat16"},
    "full": {"batch__size": 0, "batch__fan_out": []},
    "full, dropout": {"batch__size": 0, "batch__fan_out": [], "model__dropout": 0.5},
}


@dataclass
class Computed:
    """What one step and one evaluation compute: logits, and the gradient of the scores by weight."""

    logits: Tensor
    gradients: dict[str, Tensor]
    evaluated: Tensor
    read_in_place: bool  # whether the features were read from the table


def computed(arch: str, changes: dict[str, Any], graph: Graph, device: str) -> Computed:
    settings, ranks = config(model__arch=arch, batch__micro_batches=1, **changes), Ranks(device=torch.device(device))
    task = NodeTask(graph)
    training = make_trainer(settings, task, ranks)
    training.mask(0.5)
    batch = next(iter(training.batches.epoch(0)))
    dropout = Dropout(settings.model.dropout, settings.run.seed, batch.step, batch.nodes)
    with autocast(settings, ranks):
        logits = task.forward(training.method.model, batch, dropout)
    task.loss(logits.float(), batch).backward()
    gradients = {name: score.grad.cpu() for name, score in training.method.trained().items() if score.grad is not None}
    assert len(gradients) == len(training.method.trained())
    model: Any = training.method.model
    evaluated = Evaluator(graph, ranks).logits(model)
    return Computed(logits.detach().float().cpu(), gradients, evaluated.cpu(), isinstance(batch.x, Rows))


@dataclass
class AsOnAGpu:
    """Sparse products on a CPU by the matrices that a GPU multiplies with, whose types are looked at."""

    matrices: int = 0
    types: set[tuple[torch.dtype, torch.dtype]] = field(default_factory=set)

    def use(self, patch: pytest.MonkeyPatch) -> None:
        original = Pattern._matrix

        def matrix(pattern: Pattern, values: Tensor) -> Tensor:
            self.matrices += 1
            self.types.add((pattern.indptr.dtype, pattern.indices.dtype))
            return original(pattern, values)

        def matmul(pattern: Pattern, values: Tensor, dense: Tensor) -> Tensor:
            with torch.autocast("cpu", enabled=False):  # a CPU's product of sparse matrices knows no bfloat16
                return (matrix(pattern, values.to(dense.dtype).float()) @ dense.float()).to(dense.dtype)

        patch.setattr(Pattern, "_matrix", matrix)
        patch.setattr(Pattern, "matmul", matmul)


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
@pytest.mark.parametrize("arch", ARCHS)
def test_matrices_have_one_index_type_on_every_path(arch: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = planted_graph()
    graph = dataclasses.replace(graph, x=graph.x.bfloat16()) if kind == "bfloat16" else graph
    for path, changes in PATHS.items():
        expected, watched = computed(arch, changes, graph, "cpu"), AsOnAGpu()
        with monkeypatch.context() as patch:
            watched.use(patch)
            results = computed(arch, changes, graph, "cpu")
        assert watched.matrices > 4, path
        assert watched.types == {(torch.int32, torch.int32)}, path
        assert results.read_in_place == path.startswith("sampled"), path
        _assert_close(results, expected, "bfloat16" in path)


@pytest.mark.parametrize(
    ("indptr", "indices"), [(torch.int32, torch.int64), (torch.int64, torch.int32), (torch.int16, torch.int16)]
)
def test_a_pattern_of_two_index_types_is_refused(indptr: torch.dtype, indices: torch.dtype) -> None:
    with pytest.raises(TypeError, match=f"indptr is {indptr} and indices {indices}; allowed: both"):
        Pattern(torch.tensor([0, 1], dtype=indptr), torch.tensor([0], dtype=indices), 1, 1)


@pytest.mark.gpu
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("arch", ARCHS)
def test_a_gpu_computes_what_a_cpu_does(arch: str, path: str) -> None:
    graph = planted_graph()
    for kind in (graph, dataclasses.replace(graph, x=graph.x.bfloat16())):
        on_gpu, expected = (computed(arch, PATHS[path], kind, device) for device in ("cuda", "cpu"))
        _assert_close(on_gpu, expected, "bfloat16" in path)


def _assert_close(computed: Computed, expected: Computed, rounded: bool) -> None:
    """Up to the order of sums; where layers round to bfloat16, up to a few of its steps."""
    rtol, atol = (5e-2, 5e-3) if rounded else (1e-3, 1e-5)
    torch.testing.assert_close(computed.logits, expected.logits, rtol=rtol, atol=atol)
    torch.testing.assert_close(computed.evaluated, expected.evaluated, rtol=1e-3, atol=1e-5)
    for name, gradient in expected.gradients.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(computed.gradients[name] / scale, gradient / scale, rtol=rtol, atol=atol)
