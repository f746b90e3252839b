"""What is written when, and what happens if it can't be written."""

from __future__ import annotations

import errno
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.helpers import config
from ugts_dist.atomic import write_text
from ugts_dist.checkpointing import checkpoint, saver
from ugts_dist.checkpointing.saver import Saver
from ugts_dist.checkpointing.state import Best, Progress, Tensors
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks


class Network:
    """Stands for a ticket: a text, saved or not."""

    def __init__(self, text: str) -> None:
        self.text = text

    def save(self, path: Path) -> int:
        write_text(path, self.text)
        return len(self.text)


class Training:
    """A run whose only score is the number of its steps."""

    file = "best.ticket"

    def __init__(self, folder: Path, settings: Config) -> None:
        (folder / "metrics.jsonl").touch()
        self.score = torch.zeros(1)
        self.progress = Progress(4, torch.tensor(0.0))
        self.saver = Saver(folder, settings, Ranks(), self)

    def tensors(self) -> Tensors:
        return {"trained": {"a": self.score}, "optimizer": {}}

    def state_dict(self) -> dict[str, Any]:
        progress = {name: getattr(self.progress, name) for name in ("epoch", "step", "steps_per_epoch", "best")}
        return {
            **progress,
            "measured": dict(self.progress.measured),
            "gains": {"a": 1.0},
            "fingerprint": "",
            "tensors": self.tensors(),
        }

    def step(self) -> None:
        self.score += 1
        self.progress.step += 1
        self.saver.after_step(self.progress)

    def epoch(self, is_best: bool = False) -> None:
        while self.progress.step < 4:
            self.step()
        epoch = self.progress.epoch
        if is_best:
            self.progress.best = Best(epoch, 0.5, 0.5, 0.5, 0.5, 0.5)
        self.progress.next_epoch()
        self.saver.after_epoch(Network(f"epoch {epoch}") if is_best else None)


def settings(**changes: Any) -> Config:
    return config(**{"checkpoint__every_minutes": 0.0, "checkpoint__keep_last": 100, **changes})


def saved(folder: Path) -> list[tuple[int, float]]:
    """Finished steps and score of every checkpoint."""
    checkpoints = [checkpoint.read(path) for path in checkpoint.folders(folder)]
    return [(one.epoch * 4 + one.step, float(one.tensors["trained"]["a"])) for one in checkpoints]


def test_every_so_many_steps_and_at_the_end(tmp_path: Path) -> None:
    training = Training(tmp_path, settings(checkpoint__every_steps=3, checkpoint__at_best=False))
    with training.saver as used:
        training.epoch()
        training.epoch(is_best=True)
        used.finish()
    assert saved(tmp_path) == [(3, 3.0), (6, 6.0), (8, 8.0)]
    assert (tmp_path / "best.ticket").read_text() == "epoch 1"


def test_every_so_many_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(tmp_path, settings(checkpoint__every_minutes=1.0))
    clock = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    with training.saver:
        training.step()
        clock += 61.0
        training.step()
        training.saver._wait()
        clock += 59.0
        training.step()
        clock += 2.0
        training.step()
    assert saved(tmp_path) == [(2, 2.0), (4, 4.0)]


def test_the_best_epoch_is_saved_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if it is written later, when the scores have changed."""
    monkeypatch.setattr(saver, "_PART_OF_TIME", 1e-9)  # nothing more may be written for a long time
    training = Training(tmp_path, settings())
    with training.saver as used:
        for is_best in (True, True, False, True, False):
            training.epoch(is_best)
        used._wait()
        assert saved(tmp_path) == [(4, 4.0)]
        assert (tmp_path / "best.ticket").read_text() == "epoch 0"
        used.finish()
    # The second best one was overtaken before it could be written.
    assert saved(tmp_path) == [(4, 4.0), (16, 16.0), (20, 20.0)]
    assert (tmp_path / "best.ticket").read_text() == "epoch 3"
    assert [checkpoint.read(path).is_best for path in checkpoint.folders(tmp_path)] == [True, True, False]


def test_a_checkpoint_has_the_best_network_of_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saver, "_PART_OF_TIME", 1e-9)
    training = Training(tmp_path, settings(checkpoint__every_steps=6, checkpoint__at_best=False))
    with training.saver as used:
        for is_best in (True, True, False):
            training.epoch(is_best)
        used.finish()
    texts = [(path / "best.ticket").read_text() for path in checkpoint.folders(tmp_path)]
    assert texts == ["epoch 0", "epoch 1", "epoch 1"]


def test_training_does_not_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a best epoch is being written, steps go on, and the copies that are written do not change."""
    write = checkpoint.write
    begun: list[Any] = []
    may_end: list[bool] = []

    def slow(*args: Any) -> Path:
        begun.append(args)
        while not may_end:
            time.sleep(0.01)
        return write(*args)

    monkeypatch.setattr(checkpoint, "write", slow)
    training = Training(tmp_path, settings())
    with training.saver as used:
        training.epoch(is_best=True)
        training.epoch(is_best=True)
        training.epoch()
        assert len(begun) <= 1
        may_end.append(True)
        used.finish()
    assert saved(tmp_path) == [(4, 4.0), (8, 8.0), (12, 12.0)]


def test_a_full_disk_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write, full = checkpoint.write, [True]

    def maybe(*args: Any) -> Path:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(*args)

    monkeypatch.setattr(checkpoint, "write", maybe)
    training = Training(tmp_path, settings(checkpoint__every_steps=2))
    with training.saver as used:
        training.step()
        training.step()
        used._wait()
        shown = capsys.readouterr().err
        assert "checkpoint step-00000002 could not be written (No space left on device); the run goes on" in shown
        assert shown.count("\n") == 1
        full.clear()
        training.epoch(is_best=True)
        used.finish()
    assert saved(tmp_path)[-1] == (4, 4.0)
    assert capsys.readouterr().err == ""


def test_the_best_network_that_can_not_be_written_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Network, path: Path) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Network, "save", full)
    training = Training(tmp_path, settings(checkpoint__keep_last=0))
    with training.saver as used:
        training.epoch(is_best=True)
        with pytest.raises(OSError, match="No space left"):
            used.finish()


def test_a_last_state_that_is_not_finite_is_not_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """This happens if training ends early, between two evaluations."""
    training = Training(tmp_path, settings())
    with training.saver as used:
        training.epoch(is_best=True)
        training.score /= 0.0
        training.epoch()
        used.finish()
    assert saved(tmp_path) == [(4, 4.0)]
    assert "scores are not finite since the last evaluation" in capsys.readouterr().err
