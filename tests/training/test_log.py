from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import torch
import torch.distributed as dist

from tests.processes import spawn
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.terminal import log_to_stderr
from ugts_dist.training.fit import share_of_a_rank
from ugts_dist.training.run import run


def told_by(rank: int, folder: str) -> str:
    """What a rank prints on standard error in a run of two epochs."""
    changes = {"data.name": "digits", "model.width": 8, "batch.size": 256, "batch.fan_out": [2, 2], "run.epochs": 2}
    config = Config().replace({**changes, "run.folder": folder, "log.every_seconds": 0.0, "log.to": []})
    err = io.StringIO()
    log_to_stderr()
    with contextlib.redirect_stderr(err):
        run(config, Ranks(rank, 2, torch.device("cpu"), dist.group.WORLD))
    return err.getvalue()


def test_the_main_rank_alone_tells_folder_share_and_epochs(tmp_path: Path) -> None:
    main, other = spawn(2, told_by, str(tmp_path / "run"))
    assert other == ""
    folder, share, *epochs, advice = main.splitlines()
    assert folder == f"ugts: run folder {tmp_path / 'run'}"
    assert share.startswith("ugts: 2 ranks share batch.size 256: about 128 seeds a rank and step, ")
    assert [line.partition(",")[0] for line in epochs][-1] == "ugts: 2 of 2 epochs"
    assert all(re.fullmatch(r"ugts: [\d.]+ of 2 epochs, .*\d:\d\d:\d\d left", line) for line in epochs)
    assert "nothing was learnt" in advice


def test_the_share_of_a_rank() -> None:
    sampled = Config.from_dict({"batch": {"size": 1024, "fan_out": [10, 10]}}, "")
    assert share_of_a_rank(sampled, 95, 8) == (
        "8 ranks share batch.size 1,024: about 128 seeds a rank and step, 95 steps an epoch. "
        "For 1,024 a rank: batch.size 8,192, more epochs, and up to 2.8 times the optim.lr"
    )
    assert share_of_a_rank(Config(), 1, 2) == "2 ranks share the training nodes of the full batch, one step an epoch"
