"""A stored checkpoint of an older version: its run resumes and ends as it did then."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ugts_dist.checkpointing import checkpoint
from ugts_dist.checkpointing.identity import Resume
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.training.run import run

STORED = Path(__file__).parent / "stored" / "step-00000057"


def test_an_older_checkpoint_is_read() -> None:
    text = (STORED / "state.json").read_text().splitlines()[1]
    assert json.loads(text)["config"]["optim"]["average"] == 0.0, "a field that is gone"
    stored = checkpoint.read(STORED)
    assert (stored.epoch, stored.step, stored.best_file) == (28, 1, "best.ticket")
    assert stored.tensors["trained"].keys() == {"convs.0.lin.weight", "convs.1.lin.weight"}


def test_its_run_ends_as_it_did(tmp_path: Path) -> None:
    config = Config.from_dict(checkpoint.read(STORED).config, "").replace({"run.folder": str(tmp_path / "run")})
    result, _ = run(config, Ranks(), Resume(source=str(STORED)))
    assert result.valid == pytest.approx(0.9033, abs=0.02)  # machines round differently
    assert result.test == pytest.approx(0.9044, abs=0.02)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [29, 31, 33, 35, 37, 39]
    assert rows[0]["valid"] > 0.8, "its scores, not new ones"
