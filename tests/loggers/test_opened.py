"""The loggers of a run: their ids in its folder, and one that can't begin."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from tests.loggers.helpers import fakes, logged_run
from tests.processes import spawn
from tests.training.helpers import config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.loggers.opened import Loggers
from ugts_dist.training.run import run


def test_the_ids_are_in_the_folder_and_continue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fakes(monkeypatch)
    for _ in range(2):
        Loggers(logged_run(tmp_path), ["wandb", "mlflow"]).close(finished=True)
        assert json.loads((tmp_path / "loggers.json").read_text()) == {"wandb": "first", "mlflow": "first"}
    assert [call for call in calls if call[0] == "open"] == [("open", "")] * 2 + [("open", "first")] * 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"wandb": 3}', "\0"])
def test_damaged_ids_are_as_none(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fakes(monkeypatch)
    (tmp_path / "loggers.json").write_text(text)
    Loggers(logged_run(tmp_path), ["wandb"]).close(finished=True)
    assert calls[0] == ("open", "")


def test_a_run_resumes_without_a_logger_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = fakes(monkeypatch, open=ConnectionError("no route"))
    (tmp_path / "loggers.json").write_text('{"wandb": "first"}')
    loggers = Loggers(logged_run(tmp_path), ["wandb"])
    loggers.epoch(0, {})
    loggers.close(finished=True)
    assert calls == [("open", "first")]
    assert capsys.readouterr().err == "ugts: log.to wandb: ConnectionError: no route; the run resumes without it\n"


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
