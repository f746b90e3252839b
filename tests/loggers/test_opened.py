"""The loggers of a run: their ids in its folder, and one that can't begin."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import torch
import torch.distributed as dist

from tests.loggers.helpers import Fake, fakes, logged_run
from tests.processes import spawn
from tests.training.helpers import config, planted_graph
from ugts_dist.checkpointing import run_folder
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError, LostRankError
from ugts_dist.loggers import Logger, opened
from ugts_dist.loggers.opened import Loggers
from ugts_dist.training.fit import fit
from ugts_dist.training.run import run

Value = TypeVar("Value")


def test_the_ids_are_in_the_folder_and_continue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fakes(monkeypatch)
    for _ in range(2):
        with Loggers(logged_run(tmp_path), ["wandb", "mlflow"]):
            pass
        assert json.loads((tmp_path / "loggers.json").read_text()) == {"wandb": "first", "mlflow": "first"}
    assert [call for call in calls if call[0] == "open"] == [("open", "")] * 2 + [("open", "first")] * 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"wandb": 3}', "\0"])
def test_damaged_ids_are_as_none(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fakes(monkeypatch)
    (tmp_path / "loggers.json").write_text(text)
    with Loggers(logged_run(tmp_path), ["wandb"]):
        pass
    assert calls[0] == ("open", "")


def test_a_run_resumes_without_a_logger_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = fakes(monkeypatch, open=ConnectionError("no route"))
    (tmp_path / "loggers.json").write_text('{"wandb": "first"}')
    with Loggers(logged_run(tmp_path), ["wandb"]) as loggers:
        loggers.epoch(0, {})
    assert calls == [("open", "first")]
    assert capsys.readouterr().err == "ugts: log.to wandb: ConnectionError: no route; the run resumes without it\n"


def test_a_run_resumes_without_a_logger_that_has_no_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes(monkeypatch)
    with monkeypatch.context() as first:
        first.setattr(Fake, "open", lambda *_: "")
        with Loggers(logged_run(tmp_path), ["tensorboard"]):
            pass
    fakes(monkeypatch, open=PermissionError("not yours"))
    with Loggers(logged_run(tmp_path), ["tensorboard"]):
        pass
    line = "ugts: log.to tensorboard: PermissionError: not yours; the run resumes without it\n"
    assert capsys.readouterr().err == line


def test_all_loggers_end_at_once_by_one_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each waits until all have been told to end, then for longer than the deadline."""
    fakes(monkeypatch)
    monkeypatch.setattr(opened, "CLOSE_SECONDS", 1.0)
    all_end, answered = threading.Barrier(3), threading.Event()
    together = []

    def close(self: Fake, finished: bool) -> None:
        all_end.wait(30)
        together.append(finished)
        answered.wait(30)

    monkeypatch.setattr(Fake, "close", close)
    begin = time.monotonic()
    with Loggers(logged_run(tmp_path), ["tensorboard", "wandb", "mlflow"]):
        pass
    seconds = time.monotonic() - begin
    answered.set()
    assert 1.0 <= seconds < 3.0
    assert together == [True] * 3
    reason = "not everything is logged after 1 s; the run goes on, its log there may have gaps"
    names = ("tensorboard", "wandb", "mlflow")
    assert capsys.readouterr().err.splitlines() == [f"ugts: log.to {name}: {reason}" for name in names]


def test_the_folder_is_free_before_a_resumed_run_gives_up() -> None:
    assert opened.CLOSE_SECONDS <= run_folder._LOCK_SECONDS / 2


def test_loggers_are_closed_if_the_next_one_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fakes(monkeypatch)
    kinds = {"wandb": Fake, "mlflow": interrupt}
    monkeypatch.setattr(opened, "logger_classes", lambda names: kinds)
    with pytest.raises(KeyboardInterrupt), Loggers(logged_run(tmp_path), kinds):
        pass
    assert calls == [("open", ""), ("close", False)]


def interrupt() -> Logger:
    raise KeyboardInterrupt


class LostRanks(Ranks):
    """Another rank is lost as soon as this one has done its part."""

    def raise_together(self, action: Callable[[], Value]) -> Value:
        action()
        raise LostRankError("rank 1 died")


def test_loggers_are_closed_if_another_rank_is_lost_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fakes(monkeypatch)
    with pytest.raises(LostRankError):
        fit(config(log__to=["wandb"]), planted_graph(), LostRanks(), tmp_path)
    assert calls == [("open", ""), ("close", False)]


def test_loggers_are_closed_if_metrics_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fakes(monkeypatch)
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(IsADirectoryError):
        fit(config(log__to=["wandb"]), planted_graph(), Ranks(), tmp_path)
    assert calls == [("open", ""), ("close", False)]


def refused(rank: int, folder: str) -> tuple[str, list[object]]:
    """How a rank's run ends if its logger can't begin, and what its logger was asked."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        calls = fakes(monkeypatch, open=ConnectionError("no route"))
        with pytest.raises(InputError) as caught:
            run(config(log__to=["wandb"], run__folder=folder), Ranks(rank, 2, torch.device("cpu"), dist.group.WORLD))
        return str(caught.value), calls


def test_a_logger_that_cannot_begin_ends_all_ranks_before_training(tmp_path: Path) -> None:
    line = "log.to is wandb, which can't begin (ConnectionError: no route)"
    main, other = spawn(2, refused, str(tmp_path / "mine"))
    assert main == (line, [("open", "")])
    assert other == (line, [])
    assert not (tmp_path / "mine").exists()
