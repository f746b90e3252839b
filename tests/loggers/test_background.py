"""A logger that fails or waits."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tests.loggers.helpers import Fake, fakes, logged_run
from ugts_dist.loggers import background
from ugts_dist.loggers.background import Background


def test_calls_are_passed_on_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fakes(monkeypatch)
    logger = Background("fake", Fake())
    assert logger.open(logged_run(tmp_path), "known") == "known"
    for epoch in range(50):
        logger.epoch(epoch, {"valid": 0.5})
    logger.result({"valid": 0.75})
    logger.end(finished=True)
    assert logger.join(30)
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
    logger.end(finished=True)
    assert logger.join(30)
    assert calls == [("open", ""), ("epoch", 0), ("epoch", 1), ("epoch", 2), ("close", True)]
    assert capsys.readouterr().err == (
        "ugts: log.to fake: ConnectionError: no route; the run goes on, its log there may have gaps\n"
    )


def test_a_waiting_logger_delays_no_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes(monkeypatch)
    answered = threading.Event()
    monkeypatch.setattr(Fake, "epoch", lambda *_: answered.wait(30))
    logger = Background("fake", Fake())
    logger.open(logged_run(tmp_path), "")
    begin = time.monotonic()
    for epoch in range(1000):
        logger.epoch(epoch, {})
    logger.end(finished=True)
    assert not logger.join(0.1)
    assert time.monotonic() - begin < 10
    answered.set()


@pytest.mark.parametrize("error", [ConnectionError("no route"), TimeoutError("of the logger")])
def test_a_logger_that_fails_to_open_raises_its_error_and_its_thread_ends(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = fakes(monkeypatch, open=error)
    logger = Background("fake", Fake())
    with pytest.raises(type(error), match=f"^{error}$"):
        logger.open(logged_run(tmp_path), "")
    assert logger.join(30)
    assert calls == [("open", "")], "what is not open is not closed"
    assert capsys.readouterr().err == ""


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


def test_a_logger_that_fails_after_it_was_waited_for_is_not_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = fakes(monkeypatch)
    failed = threading.Event()

    def fail_late(*_: object) -> str:
        failed.wait(30)
        raise ConnectionError("no route")

    monkeypatch.setattr(Fake, "open", fail_late)
    logger = Background("fake", Fake())
    with pytest.raises(TimeoutError, match=r"^no answer in 0\.1 s$"):
        logger.open(logged_run(tmp_path), "", seconds=0.1)
    failed.set()
    assert logger.join(30)
    assert (calls, capsys.readouterr().err) == ([], "")


def test_ctrl_c_leaves_no_logger_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    calls = fakes(monkeypatch)
    monkeypatch.setattr(background, "wait", interrupt)
    logger = Background("fake", Fake())
    with pytest.raises(KeyboardInterrupt):
        logger.open(logged_run(tmp_path), "")
    assert logger.join(30)
    assert calls == [("open", ""), ("close", False)]
