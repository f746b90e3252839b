"""The demonstration, as a user starts it: torchrun and two processes. Only the first test starts torchrun itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.launch import launch
from ugts_dist.config import load_preset
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.experiments import demo

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "ugts_dist"]


def test_two_processes_train_and_tell_once(tmp_path: Path) -> None:
    train = ["train", "--preset", "digits", "--run.epochs", "4", "--run.folder", "mine"]
    done = subprocess.run([*TORCHRUN, *train], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    result = json.loads((tmp_path / "mine" / "result.json").read_text())
    assert lines[-1].startswith(f"test accuracy {result['test']:.3f} at sparsity 0.9000")
    assert sum(line.startswith("test accuracy") for line in lines) == 1
    assert len((tmp_path / "mine" / "metrics.jsonl").read_text().splitlines()) == 4
    assert any(path.name.startswith("events.out.tfevents") for path in (tmp_path / "mine").iterdir())
    evaluated = launch(["evaluate", "mine"], tmp_path)
    assert evaluated.wait() == 0, evaluated.told()
    assert evaluated.told().splitlines()[-1] == f"test accuracy {result['test']:.4f}"


def test_a_mistake_ends_every_process_and_is_told_once(tmp_path: Path) -> None:
    done = launch(["train", "--preset", "digits", "--batch.size", "1"], tmp_path)
    assert done.wait() != 0
    assert sum(line.startswith("ugts: batch.size") for line in done.told().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_the_demonstration_shows_a_table_and_a_plot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    short = load_preset("digits").replace({"run.epochs": 2, "log.progress": False})
    monkeypatch.setattr(demo, "load_preset", lambda name: short)
    demo.run_demo(str(tmp_path / "demo"), 0, Ranks())
    rows = json.loads((tmp_path / "demo" / "table.json").read_text())
    assert [(row["method"], row["target"]) for row in rows[1:]] == [
        (method, sparsity) for method in ("edge-popup", "ugts") for sparsity in (0.5, 0.9, 0.99)
    ]
    weights = 64 * 256 + 256 * 10
    for row in rows[4:]:
        assert round(row["sparsity"] * weights) == round(row["target"] * weights)
        assert row["bytes"] == (tmp_path / "demo" / f"ugts-{row['target']}" / "best.ticket").stat().st_size
    assert (tmp_path / "demo" / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    shown = capsys.readouterr().out
    assert all(f"{row['test']:.3f}" in shown for row in rows)
    assert str(tmp_path / "demo") in shown.replace("\n", "")
