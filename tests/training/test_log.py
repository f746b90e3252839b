from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from rich.console import Console

from tests.processes import spawn
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.terminal import log_to_stderr
from ugts_dist.training.fit import share_of_a_rank
from ugts_dist.training.log import Bar, Lines
from ugts_dist.training.run import run

METRICS = {"sparsity": 0.45, "loss": 1.234, "valid": 0.8123}


def drawn(width: int) -> str:
    """What stands on a terminal of this width when epoch 119 of 400 has been measured."""
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system=None)
    with Bar("no-gradual-0.995", "accuracy", 400, 0, console) as bar:
        bar.show(0.5)
        bar.show(119, METRICS)
    lines = [line.removeprefix("\x1b[2K") for line in out.getvalue().replace("\r", "\n").split("\n")]
    return next(line for line in reversed(lines) if "119/400" in line)


@pytest.mark.parametrize(
    ("width", "note"),
    [
        (50, ""),
        (60, "valid 0.812"),
        (80, "sparsity 0.450  valid 0.812"),
        (100, "sparsity 0.450  loss 1.234  validation accuracy 0.812"),
        (200, "sparsity 0.450  loss 1.234  validation accuracy 0.812"),
    ],
)
def test_a_bar_of_any_width_has_epochs_and_the_time_left(width: int, note: str) -> None:
    line = drawn(width)
    assert len(line) <= width
    assert line.startswith("no-gradual-0.995 ")
    _, separator, rest = line.partition("119/400 0:0")
    assert separator
    assert rest.partition(" ")[2].strip() == note


def test_a_bar_does_not_act_on_what_a_label_holds() -> None:
    out = io.StringIO()
    with Bar("\x1b[2J[red]x", "accuracy", 4, 0, Console(file=out, width=80, force_terminal=True, color_system=None)):
        pass
    assert r"\x1b[2J[red]x" in out.getvalue()
    assert "\x1b[2J" not in out.getvalue()


@pytest.fixture
def clock() -> list[float]:
    """The time, which a test sets."""
    return [0.0]


def test_lines_come_early_then_seldom_and_tell_the_time_left(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with Lines("accuracy", 400, 0, 30.0, lambda: clock[0]) as lines:
        for second in range(1, 101):  # an epoch a second
            clock[0] = float(second)
            lines.show(second, METRICS)
    assert capsys.readouterr().err.splitlines() == [
        f"ugts: {epoch} of 400 epochs, sparsity 0.450, loss 1.234, validation accuracy 0.812, 0:0{left} left"
        for epoch, left in ((1, "6:39"), (31, "6:09"), (61, "5:39"), (91, "5:09"))
    ]


def test_lines_of_long_epochs_tell_parts_of_them(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Lines("accuracy", 20, 10, 30.0, lambda: clock[0]) as lines:  # a resumed run
        for second in range(1, 61):  # 10,000 s an epoch
            clock[0] = float(second)
            lines.show(10 + second / 1e4)
    assert capsys.readouterr().err.splitlines() == [
        f"ugts: {done} of 20 epochs, 1 day, 3:46:{left} left" for done, left in (("10.001", "30"), ("10.004", "00"))
    ]


def told_by(rank: int, folder: str) -> str:
    """What a rank prints on standard error in a run of two epochs."""
    changes = {"data.name": "digits", "model.width": 8, "batch.size": 256, "batch.fan_out": [2, 2], "run.epochs": 2}
    config = Config().replace({**changes, "run.folder": folder, "log.every_seconds": 0.0, "log.tensorboard": False})
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
