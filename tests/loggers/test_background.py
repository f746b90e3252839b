"""A logger that fails or waits."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tests.loggers.helpers import Fake, fakes, logged_run
from ugts_dist.loggers.background import Background


def test_calls_are_passed_on_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fakes(monkeypatch)
    logger = Background("fake", Fake())
    assert logger.open(logged_run(tmp_path), "known") == "known"
    for epoch in range(50):
        logger.epoch(epoch, {"valid": 0.5})
    logger.result({"valid": 0.75})
    logger.close(finished=True)
    epochs = [("epoch", number) for number in range(50)]
    assert calls == [("open", "known"), *epochs, ("result", {"valid": 0.75}), ("close", True)]


def test_a_failing_logger_warns_once_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = fakes(monkeypatch, epoch=ConnectionError("no route\nto the host"), close=ValueError("gone"))
    logger = Background("fake", Fake())
    logger.open(logged_run(tmp_path), "")
    for epoch in range(3):
        logger.epoch(epoch, {})
    logger.close(finished=True)
    assert calls == [("open", ""), ("epoch", 0), ("epoch", 1), ("epoch", 2), ("close", True)]
    assert capsys.readouterr().err == (
        "ugts: log.to fake: ConnectionError: no route; the run goes on, its log there may have gaps\n"
    )


def test_a_waiting_logger_delays_neither_epochs_nor_the_end_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes(monkeypatch)
    answered = threading.Event()
    monkeypatch.setattr(Fake, "epoch", lambda *_: answered.wait(30))
    logger = Background("fake", Fake())
    logger.open(logged_run(tmp_path), "")
    begin = time.monotonic()
    for epoch in range(1000):
        logger.epoch(epoch, {})
    logger.close(finished=True, seconds=0.1)
    assert time.monotonic() - begin < 10
    assert "log.to fake: not everything is logged after 0.1 s;" in capsys.readouterr().err
    answered.set()


def test_a_server_that_does_not_answer_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fakes(monkeypatch)
    answered, closed = threading.Event(), threading.Event()
    monkeypatch.setattr(Fake, "open", lambda *_: str(answered.wait(30)))
    monkeypatch.setattr(Fake, "close", lambda self, finished: closed.set())
    with pytest.raises(TimeoutError, match=r"^no answer in 0\.1 s$"):
        Background("fake", Fake()).open(logged_run(tmp_path), "", seconds=0.1)
    answered.set()
    assert closed.wait(30), "a late answer leaves nothing open"
    assert calls == []
