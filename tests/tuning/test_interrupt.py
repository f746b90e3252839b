"""Signals to a searching process stop it between two steps only."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.tuning.helpers import space
from tuning.interrupt import Interrupt, held
from tuning.manifest import open_search
from tuning.view import View
from tuning.watcher import Watcher
from ugts_dist.errors import StoppedError


@pytest.fixture(autouse=True)
def handlers() -> Any:
    """The tests' own handlers are restored afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_told_only_where_the_search_looks(number: signal.Signals) -> None:
    interrupt = Interrupt("ugts tune --resume small")
    with interrupt.listening():
        interrupt.look()
        signal.raise_signal(number)  # nothing happens at this place
        signal.raise_signal(signal.SIGTERM)  # a further one changes nothing
        with pytest.raises(StoppedError, match=rf"^stopped by {number.name}; to resume: ugts tune --resume small$"):
            interrupt.look()
    assert signal.getsignal(number) == signal.SIG_IGN  # until the process, and Ray with it, is over


def test_a_signal_that_comes_while_ray_starts_is_told_once_it_is_there(handlers: dict[signal.Signals, Any]) -> None:
    with held():
        signal.raise_signal(signal.SIGTERM)
        with Interrupt("again").listening() as interrupt, pytest.raises(StoppedError, match="stopped by SIGTERM"):
            interrupt.look()
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_without_a_signal_the_handlers_are_as_before(handlers: dict[signal.Signals, Any]) -> None:
    with Interrupt("ugts tune").listening() as interrupt:
        assert signal.getsignal(signal.SIGTERM) != handlers[signal.SIGTERM]
    interrupt.look()
    assert {number: signal.getsignal(number) for number in handlers} == handlers


def test_rays_steps_end_the_search_at_their_beginning(tmp_path: Any) -> None:
    with open_search(tmp_path, space()) as manifest, Interrupt("again").listening() as interrupt:
        watcher = Watcher(manifest, View("small"), {}, interrupt)
        watcher.on_step_begin(0, [])
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(StoppedError, match="to resume: again"):
            watcher.on_step_begin(1, [])
