"""A checkpoint is whole or missing, and it is used only if it is whole."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from ugts_dist.checkpointing import checkpoint
from ugts_dist.checkpointing.state import Best, Checkpoint, Tensors
from ugts_dist.errors import InputError

STATE = Checkpoint(
    epoch=3,
    step=2,
    steps_per_epoch=5,
    losses=[0.1, float(torch.tensor(1 / 3))],
    seconds=12.5,
    best=Best(2, 0.75, 0.7, 0.9, 0.8, 0.71),
    measured={"valid": 0.75, "test": 0.7},
    gains={"a": 1.1, "b": 1 / 3},
    fingerprint="0" * 64,
    is_best=False,
    config={"run": {"seed": 3}},
)


def tensors(scale: float = 1.0) -> Tensors:
    g = torch.Generator().manual_seed(0)
    trained = {name: torch.randn(4, 3, generator=g) * scale for name in ("a", "b")}
    moments = {f"{name}/{key}": torch.rand(4, 3, generator=g) for name in trained for key in ("exp_avg", "exp_avg_sq")}
    return {"trained": trained, "optimizer": {**moments, "a/step": torch.tensor(17.0), "b/step": torch.tensor(17.0)}}


def write(folder: Path, state: Checkpoint, tensors: Tensors, best: Path | None) -> Path:
    return checkpoint.write(folder, dataclasses.replace(state, tensors=tensors), best)


@pytest.fixture
def best(tmp_path: Path) -> Path:
    path = tmp_path / "best.ticket"
    path.write_bytes(b"a ticket")
    return path


def test_what_is_written_is_read_again(tmp_path: Path, best: Path) -> None:
    path = write(tmp_path, STATE, tensors(), best)
    assert path == tmp_path / "checkpoints/step-00000017"
    read = checkpoint.read(path)
    assert dataclasses.replace(read, best_file="", best_sha256="") == STATE
    for kind, group in tensors().items():
        assert read.tensors[kind].keys() == group.keys()
        assert all(torch.equal(read.tensors[kind][name], value) for name, value in group.items())
    # The files are what any reader of safetensors and JSON makes of them.
    plain = safetensors.torch.load_file(path / "scores.safetensors")
    assert torch.equal(plain["a"], tensors()["trained"]["a"])
    assert json.loads((path / "state.json").read_text().splitlines()[1])["epoch"] == 3


def test_the_best_network_of_that_time_stays_with_it(tmp_path: Path, best: Path) -> None:
    path = write(tmp_path, STATE, tensors(), best)
    (tmp_path / "new").write_bytes(b"a better ticket")
    os.replace(tmp_path / "new", best)
    assert (path / "best.ticket").read_bytes() == b"a ticket"
    assert checkpoint.read(path).best_file == "best.ticket"


def test_before_there_is_a_best_epoch(tmp_path: Path) -> None:
    state = dataclasses.replace(STATE, best=Best())
    read = checkpoint.read(write(tmp_path, state, tensors(), None))
    assert read.best.epoch == -1
    assert math.isnan(read.best.test)
    assert math.isnan(read.best.test_any)


def at_step(epoch: int, step: int, **changes: Any) -> Checkpoint:
    return dataclasses.replace(STATE, epoch=epoch, step=step, **{"best": Best(), **changes})


def names(folder: Path) -> list[str]:
    return [path.name for path in checkpoint.folders(folder)]


def test_they_are_found_in_the_order_of_the_run(tmp_path: Path) -> None:
    for state in (at_step(2, 0), at_step(1, 5), at_step(0, 1), at_step(10**8, 0)):
        write(tmp_path, state, tensors(), None)
    (tmp_path / "checkpoints/step-1").mkdir()
    (tmp_path / "checkpoints/.step-00000009.17").mkdir()
    expected = ["step-00000001", "step-00000010", "step-00000010-epoch-1", f"step-5{'0' * 8}-epoch-{10**8 - 1}"]
    assert names(tmp_path) == expected


def test_the_last_ones_and_the_best_are_kept(tmp_path: Path) -> None:
    for step in range(1, 5):
        write(tmp_path, at_step(0, step, is_best=step in (1, 2)), tensors(), None)
    (tmp_path / "checkpoints/.step-00000009.17").mkdir()
    checkpoint.prune(tmp_path, "step-00000004", keep_last=1)
    assert names(tmp_path) == ["step-00000002", "step-00000004"]
    assert not (tmp_path / "checkpoints/.step-00000009.17").exists()


def test_a_damaged_newer_one_does_not_count_among_the_last(tmp_path: Path) -> None:
    for step in (1, 2, 4):
        write(tmp_path, at_step(0, step), tensors(), None)
    (tmp_path / "checkpoints/step-00000004/state.json").write_text("{}")
    write(tmp_path, at_step(0, 3), tensors(), None)
    checkpoint.prune(tmp_path, "step-00000003", keep_last=1)
    assert names(tmp_path) == ["step-00000003", "step-00000004"]
    newest, problems = checkpoint.newest(tmp_path)
    assert newest is not None
    assert newest.step == 3
    assert len(problems) == 1
    assert "step-00000004/state.json: damaged" in problems[0]


def test_one_of_the_same_step_is_written_again(tmp_path: Path) -> None:
    path = write(tmp_path, STATE, tensors(), None)
    (path / "scores.safetensors").write_bytes(b"")
    write(tmp_path, STATE, tensors(scale=2.0), None)
    assert torch.equal(checkpoint.read(path).tensors["trained"]["a"], tensors(scale=2.0)["trained"]["a"])


def test_a_failed_write_leaves_the_others_alone(tmp_path: Path, best: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, at_step(0, 1), tensors(), best)
    broken = dict(STATE.config, unwritable=math.nan)
    with pytest.raises(ValueError, match="JSON"):
        write(tmp_path, at_step(0, 2, config=broken), tensors(), best)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]
    assert checkpoint.read(checkpoint.folders(tmp_path)[0]).step == 1


def test_parts_of_two_checkpoints_are_not_mixed(tmp_path: Path, best: Path) -> None:
    states = [at_step(0, step, best=Best(0, 0.5, 0.5, 0.5, 0.5, 0.5)) for step in (1, 2)]
    one, other = (write(tmp_path, state, tensors(), best) for state in states)
    for name in ("scores.safetensors", "optimizer.safetensors"):
        kept = (one / name).read_bytes()
        (one / name).write_bytes((other / name).read_bytes())
        with pytest.raises(InputError, match="belongs to checkpoint 'step-00000002', not to step-00000001"):
            checkpoint.read(one)
        (one / name).write_bytes(kept)
    (one / "best.ticket").unlink()
    (one / "best.ticket").write_bytes(b"b ticket")
    with pytest.raises(InputError, match=r"best.ticket: damaged \(its checksum is wrong\)"):
        checkpoint.read(one)


@pytest.mark.parametrize("gain", [0.0, math.inf, math.nan, 2.0**-65, 2.0**65])
def test_a_gain_that_no_weight_can_have_is_damage(tmp_path: Path, gain: float) -> None:
    path = write(tmp_path, dataclasses.replace(STATE, gains={"a": gain}), tensors(), None)
    with pytest.raises(InputError, match=r"state\.json: damaged \(ValueError: gain is"):
        checkpoint.read(path)


def test_the_best_one_of_a_folder(tmp_path: Path) -> None:
    for step in range(1, 4):
        write(tmp_path, at_step(0, step, is_best=step == 2), tensors(), None)
    assert checkpoint.at(tmp_path).step == 3
    assert checkpoint.at(tmp_path, best=True).step == 2
    assert checkpoint.at(tmp_path / "checkpoints/step-00000001", best=True).step == 1
    with pytest.raises(InputError, match="not a checkpoint"):
        checkpoint.at(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no valid checkpoint in this folder"):
        checkpoint.at(tmp_path / "empty")
