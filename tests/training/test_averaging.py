"""The averaged scores are what is judged and saved, and training goes on as if nobody had averaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.processes import spawn
from tests.training.helpers import config, equal_share, fit_rank, planted_graph
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.supermask import Ticket
from ugts_dist.tensor_file import read_tensor_file
from ugts_dist.training.averaging import Average
from ugts_dist.training.fit import Training, fit, learning_rate
from ugts_dist.training.tasks import NodeTask

DECAY = 0.9


def trained_after_each_step(settings: Config) -> list[dict[str, Tensor]]:
    """What a run without an average has before the first step and after each."""
    training = Training(settings.replace({"optim.average": 0.0}), NodeTask(planted_graph()), Ranks())

    def copy(*_: object) -> None:
        seen.append({name: value.detach().clone() for name, value in training.method.trained().items()})

    seen: list[dict[str, Tensor]] = []
    copy()
    for epoch in range(settings.run.epochs):
        training.progress.step = 0
        training.epoch(epoch, training.method.schedule(epoch), learning_rate(settings, epoch), copy)
    return seen


def averaged(seen: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The sum that the recursion stands for, in double precision."""
    steps = len(seen) - 1
    shares = [DECAY**steps] + [(1 - DECAY) * DECAY ** (steps - k) for k in range(1, steps + 1)]
    weighted = {name: [s * one[name].double() for s, one in zip(shares, seen, strict=True)] for name in seen[0]}
    return {name: torch.stack(parts).sum(0) for name, parts in weighted.items()}


def settings(**changes: object) -> Config:
    """A run that is judged once, at its end."""
    return config(**{"run__epochs": 6, "run__evaluate_every": 6, "optim__average": DECAY, "optim__lr": 0.05, **changes})


def test_the_ticket_keeps_the_largest_of_the_averaged_scores(tmp_path: Path) -> None:
    chosen = settings()
    fit(chosen, planted_graph(), Ranks(), tmp_path)
    masks = Ticket.load(tmp_path / "best.ticket").masks
    seen = trained_after_each_step(chosen)

    def differing(scores: dict[str, Tensor]) -> int:
        values = torch.cat([score.flatten() for score in scores.values()]).sort().values
        threshold = values[round(chosen.supermask.sparsity * values.numel())]
        return sum(int((masks[name] != (score >= threshold)).sum()) for name, score in scores.items())

    assert differing(averaged(seen)) <= 2  # a score next to the threshold may round to the other side
    assert differing(seen[-1]) > 20  # those of the last step would be other masks


def test_of_a_dense_network_the_averaged_weights_are_saved(tmp_path: Path) -> None:
    chosen = settings(supermask__method="dense")
    fit(chosen, planted_graph(), Ranks(), tmp_path)
    _, saved = read_tensor_file(tmp_path / "best.safetensors", "dense", "a dense network")
    for name, value in averaged(trained_after_each_step(chosen)).items():
        torch.testing.assert_close(saved[name].double(), value, rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", ["ugts", "dense"])
def test_training_takes_no_notice_of_it(method: str, tmp_path: Path) -> None:
    losses = []
    for decay in (0.0, DECAY):
        folder = tmp_path / f"{decay}"
        folder.mkdir()
        fit(config(supermask__method=method, optim__average=decay), planted_graph(), Ranks(), folder)
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        losses.append([row["loss"] for row in rows])
    assert losses[0] == losses[1]


def test_two_ranks_judge_the_same_average_as_one(tmp_path: Path) -> None:
    chosen = config(optim__average=DECAY)
    fit(chosen, planted_graph(), Ranks(), tmp_path)
    alone = Ticket.load(tmp_path / "best.ticket")
    (first, masks), (second, _) = spawn(2, fit_rank, 2, chosen, str(tmp_path))
    assert (first.epoch, first.valid, first.test) == (second.epoch, second.valid, second.test)
    assert equal_share(masks, alone.masks) > 0.99


def test_without_a_decay_there_is_no_average() -> None:
    parameter = torch.nn.Parameter(torch.ones(3))
    average = Average({"weight": parameter}, 0.0)
    average.update()
    with average.in_place():
        assert parameter.equal(torch.ones(3))
    assert average.tensors() == {}
