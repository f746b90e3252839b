"""The registry of loggers, and what is refused before training."""

from __future__ import annotations

from pathlib import Path

import pytest

import ugts_dist.loggers
from tests.training.helpers import config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.loggers import LOGGERS, logger_classes, refuse_missing
from ugts_dist.training.run import run

MACHINERY = {"__init__", "base", "background", "opened"}


def test_every_file_has_its_line() -> None:
    files = {path.stem for path in Path(ugts_dist.loggers.__path__[0]).glob("*.py")} - MACHINERY
    assert files == set(LOGGERS) == set(logger_classes(LOGGERS))


def test_a_missing_package_is_refused_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that a logger made in the working directory is not its package."""
    (tmp_path / "nopackage").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    for extra in ("nowhere", "nopackage"):
        monkeypatch.setattr(logger_classes(["wandb"])["wandb"], "extra", extra)
        with pytest.raises(InputError) as caught:
            run(config(log__to=["wandb"], run__folder=str(tmp_path / "mine")), Ranks())
        assert str(caught.value) == f'log.to is wandb, which is not installed: pip install "ugts_dist[{extra}]"'
    assert not (tmp_path / "mine").exists()
    refuse_missing(["tensorboard"])
