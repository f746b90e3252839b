from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.helpers import config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.training.run import run


@pytest.fixture(scope="session")
def ticket_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on the digits that left out four of the ten classes."""
    folder = tmp_path_factory.mktemp("runs") / "ticket"
    run(config(data__left_out=0.4, run__folder=str(folder)), Ranks())
    return folder


@pytest.fixture(scope="session")
def dense_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a dense run, full batch, that knows all classes."""
    folder = tmp_path_factory.mktemp("runs") / "dense"
    settings = {"supermask__method": "dense", "batch__size": 0, "batch__fan_out": [], "run__folder": str(folder)}
    run(config(**settings), Ranks())
    return folder
