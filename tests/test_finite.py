"""A training whose numbers are no longer finite ends with a line about the learning rate, and keeps its files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from tests.processes import spawn
from tests.training.helpers import config, planted_graph
from ugts_dist.checkpointing import checkpoint
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.finite import zero_if_finite
from ugts_dist.graphs.graph import Graph
from ugts_dist.tasks import NodeTask
from ugts_dist.training import fit as loop
from ugts_dist.training.fit import fit


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_number_among_many_is_found(bad: float) -> None:
    large = torch.full((300, 7), 3e38)
    assert float(zero_if_finite([large, torch.tensor(-2.0)])) == 0.0
    large[299, 6] = bad
    assert math.isnan(float(zero_if_finite([torch.ones(3), large])))


def ended(settings: Config, folder: Path) -> str:
    with pytest.raises(FloatingPointError) as caught:
        fit(settings, planted_graph(), Ranks(), folder)
    return str(caught.value)


def test_infinite_scores_are_no_ticket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All weights are masked then, so that the loss stays finite."""
    monkeypatch.setattr(loop, "learning_rate", lambda config, epoch: 1e39 if epoch == 2 else 0.01)
    settings = config(run__evaluate_every=2, run__select="any", checkpoint__every_minutes=0.0)
    assert ended(settings, tmp_path) == "the scores of convs.0.lin.weight are not finite: try a smaller learning rate"
    last = checkpoint.newest(tmp_path)[0]
    assert last is not None
    assert last.epoch == 2, "the epoch that was evaluated before"


def test_moments_that_overflow_are_told(tmp_path: Path) -> None:
    """No checkpoint with them could be read, and the scores stand still."""
    message = ended(config(optim__weight_decay=1e25), tmp_path)
    assert message == "moments of the optimiser are not finite in epoch 0: try a smaller optim.lr"
    assert not list(tmp_path.glob("checkpoints/*"))


def test_logits_that_overflow_are_told_in_the_last_epoch_too(tmp_path: Path) -> None:
    settings = config(supermask__method="dense", optim__lr=1e30, run__epochs=1, batch__size=0, batch__fan_out=[])
    assert ended(settings, tmp_path) == "logits are not finite in epoch 0: try a smaller optim.lr"
    assert not (tmp_path / "best.safetensors").exists()


class NaNOnOneRank(NodeTask):
    """The loss of step 5 is NaN on the last rank alone."""

    def loss(self, logits: Tensor, batch: Any) -> Tensor:
        loss = super().loss(logits, batch)
        last = dist.get_rank() == dist.get_world_size() - 1
        return loss * math.nan if batch.step == 5 and last else loss


def _nan_task(graph: Graph, settings: Config, device: torch.device) -> NodeTask:
    return NaNOnOneRank(graph, settings.task, device)


def _nan_within_an_epoch(rank: int, folder: str, every_steps: int) -> str:
    settings = config(batch__size=20, checkpoint__every_steps=every_steps)
    try:
        with mock.patch.object(loop, "make_task", _nan_task):
            fit(settings, planted_graph(), Ranks(rank, 2, process_group=dist.group.WORLD), Path(folder))
    except FloatingPointError as error:
        return str(error)
    return ""


def test_every_rank_ends_alike_within_an_epoch_or_after_it(tmp_path: Path) -> None:
    """Five steps make an epoch; step 5 is the first one of epoch 1."""
    advice = "not finite in epoch 1: try a smaller optim.lr"
    before_a_checkpoint = [f"scores or weights are {advice}", f"the loss is {advice}"]
    at_the_next_step = ["the scores of convs.0.lin.weight are not finite: try a smaller learning rate"] * 2
    for every_steps, expected in ((1, before_a_checkpoint), (0, at_the_next_step)):
        folder = tmp_path / str(every_steps)
        folder.mkdir()
        messages = spawn(2, _nan_within_an_epoch, str(folder), every_steps)
        assert messages == expected
        steps = [checkpoint.read(path) for path in checkpoint.folders(folder)]
        assert [state.epoch * 5 + state.step for state in steps] == ([4, 5] if every_steps else [])
        assert not list(folder.glob("checkpoints/.*"))
