"""Ranks look at the same steps and agree, whenever each of them was told to stop."""

from __future__ import annotations

import os
import signal
import time
from itertools import pairwise

import pytest
import torch.distributed as dist

from tests.processes import spawn
from ugts_dist.distributed.launcher import Launcher
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.distributed.stopping import Decision, StopAgreement, StopRequest


def _looks(rank: int, steps_per_epoch: int, told: dict[int, int], slow: int) -> list[tuple[int, Decision]]:
    """Sixty steps, which take unequal times on the ranks; a rank is told to stop at its step in `told`."""
    ranks = Ranks(rank, dist.get_world_size(), process_group=dist.group.WORLD)
    request, looks = StopRequest(), []
    with request.listening():
        agreement = StopAgreement(request, ranks)
        for step in range(1, 61):
            time.sleep(0.02 if rank == slow else 0.0)
            if told.get(rank) == step:
                os.kill(os.getpid(), signal.SIGUSR1)
            if agreement.is_due(step):
                looks.append((step, agreement.decide(step, steps_per_epoch, save=rank == 0 and step > 30)))
                if looks[-1][1].stop:
                    break
    return looks


@pytest.mark.parametrize(("told", "stops"), [({}, False), ({1: 20}, True), ({0: 25, 2: 10}, True)])
def test_ranks_look_at_the_same_steps_and_agree(told: dict[int, int], stops: bool) -> None:
    looks = spawn(3, _looks, 1000, told, 1)
    assert looks[0] == looks[1] == looks[2]
    assert [agreed.stop for _, agreed in looks[0]][-1] == (signal.SIGUSR1 if stops else 0)
    assert all(agreed.stop == 0 for _, agreed in looks[0][:-1])
    if not stops:
        # The main rank decides for every rank, with far fewer looks than steps of a fiftieth of a second.
        assert [agreed.save for step, agreed in looks[0] if step > 30] == [True] * sum(s > 30 for s, _ in looks[0])
        assert 2 <= len(looks[0]) <= 20


def test_ranks_look_before_an_evaluation() -> None:
    """If an epoch takes longer than the time between two looks, ranks look at its last step."""
    looks = spawn(2, _looks, 7, {}, 0)
    steps = [step for step, _ in looks[0]]
    interval = max(b - a for a, b in pairwise(steps))
    assert interval >= 7 or set(range(steps[1] + 7 - steps[1] % 7, 61, 7)) <= set(steps)


def _looks_after_a_resume(rank: int) -> list[int]:
    agreement = StopAgreement(StopRequest(), Ranks(rank, dist.get_world_size(), process_group=dist.group.WORLD))
    looks = []
    for step in range(100_001, 100_030):
        if agreement.is_due(step):
            agreement.decide(step, 1_000_000, save=False)
            looks.append(step - 100_000)
    return looks


def test_the_steps_before_a_resume_do_not_count_as_fast_ones() -> None:
    looks = spawn(2, _looks_after_a_resume)
    assert looks[0] == looks[1]
    assert len(looks[0]) >= 3


def test_alone_every_step_is_looked_at() -> None:
    request = StopRequest()
    agreement = StopAgreement(request, Ranks())
    with request.listening():
        for step in range(5):
            assert agreement.is_due(step)
            assert agreement.decide(step, 2, save=step == 3) == Decision(0, step == 3)
        os.kill(os.getpid(), signal.SIGTERM)
        assert agreement.decide(5, 2, save=False) == Decision(signal.SIGTERM, False)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def _orphaned(rank: int) -> bool:
    os.environ["TORCHELASTIC_RUN_ID"] = "test"
    request = StopRequest()
    before = request.number
    os.getppid = lambda: 1  # the launcher is gone
    return before == 0 and request.number == signal.SIGTERM


def test_the_death_of_the_launcher_is_a_signal() -> None:
    assert spawn(1, _orphaned) == [True]


def test_the_second_interrupt_ends_a_process_without_a_launcher(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGINT)
    request = StopRequest()
    with request.listening():
        os.kill(os.getpid(), signal.SIGINT)
        assert request.number == signal.SIGINT
        assert "Ctrl-C again ends it at once" in capfd.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "some")
    launched = StopRequest(Launcher())
    with launched.listening():
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
    assert launched.number == signal.SIGINT
    assert not capfd.readouterr().err


def test_an_ignored_interrupt_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        request = StopRequest()
        with request.listening():
            os.kill(os.getpid(), signal.SIGINT)
        assert request.number == 0
    finally:
        signal.signal(signal.SIGINT, before)
