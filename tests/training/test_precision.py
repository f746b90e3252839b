"""Precision of matrix products: that asked for while a step computes, and as before it at all other times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.training.helpers import config, planted_graph
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.tasks import make_task
from ugts_dist.training.fit import fit
from ugts_dist.training.trainer import make_trainer, matmul_precision


class Products(TorchDispatchMode):
    """Notes in which precision each matrix product is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default):
            self.seen.append(torch.get_float32_matmul_precision())
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("asked", "expected"), [("float32", "highest"), ("medium", "medium")])
def test_forward_and_backward_multiply_as_asked(asked: str, expected: str) -> None:
    settings = config(optim__precision=asked)
    training = make_trainer(settings, make_task(planted_graph(), settings), Ranks())
    with Products() as products_of_the_step:
        training.epoch(0, 0.0, 0.01)
    assert len(products_of_the_step.seen) > 2, "backward, too"
    assert set(products_of_the_step.seen) == {expected}


def test_evaluation_never_rounds(tmp_path: Path) -> None:
    settings = config(optim__precision="medium", run__epochs=1)
    with Products() as seen_by_all:
        fit(settings, planted_graph(), Ranks(), tmp_path)
    assert seen_by_all.seen[-1] == "highest", "the last product is the evaluation's"


def test_an_error_leaves_the_precision_as_it_was() -> None:
    def step() -> None:
        with matmul_precision(config(optim__precision="medium")):
            assert torch.get_float32_matmul_precision() == "medium"
            raise ValueError("step")

    with pytest.raises(ValueError, match="step"):
        step()
    assert torch.get_float32_matmul_precision() == "highest"


def test_medium_finds_a_ticket_as_good(tmp_path: Path) -> None:
    for name in ("float32", "medium"):
        (tmp_path / name).mkdir()
    precise = fit(config(run__epochs=20), planted_graph(), Ranks(), tmp_path / "float32")
    rough = fit(config(run__epochs=20, optim__precision="medium"), planted_graph(), Ranks(), tmp_path / "medium")
    assert rough.valid > 0.5, "four classes"
    assert abs(rough.valid - precise.valid) < 0.1
