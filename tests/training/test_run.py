"""A run's folder, and what is refused before there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training.helpers import config
from ugts_dist.config import load_toml
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.training.run import evaluate, run


@pytest.mark.parametrize("changes", [{"batch__size": 0, "batch__fan_out": []}, {"batch__size": 40}])
def test_more_ranks_than_training_nodes_are_refused(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"training nodes for 300 ranks|batch\.size") as error:
        run(config(**changes), Ranks(rank=7, world_size=300))
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_the_folder_has_all_that_the_run_was(tmp_path: Path) -> None:
    settings = config(run__epochs=5, run__folder=str(tmp_path / "mine"), log__to=["tensorboard"])
    result, folder = run(settings, Ranks())
    assert load_toml(folder / "config.toml") == settings
    events = EventAccumulator(str(folder))
    events.Reload()
    assert [event.step for event in events.Scalars("valid")] == [0, 1, 2, 3, 4]
    assert events.Scalars("test")[-1].value == pytest.approx(result.test_last, abs=1e-6)
    assert Path(result.path) == folder / "best.ticket"
    assert result.bytes == (folder / "best.ticket").stat().st_size


def test_a_ticket_tells_nothing_of_the_machine_and_evaluate_finds_the_graph(tmp_path: Path) -> None:
    """The same run in another folder saves the same bytes; its graph is where the run's configuration says."""
    files = []
    for name in ("a", "b"):
        _, folder = run(config(run__epochs=2, run__folder=str(tmp_path / name), data__root=str(tmp_path)), Ranks())
        files.append((folder / "best.ticket").read_bytes())
    assert files[0] == files[1]
    assert str(tmp_path).encode() not in files[0]
    evaluation = evaluate(tmp_path / "a", Ranks())
    assert evaluation.config.data.root == ""
    assert evaluation.measured == {split: evaluation.saved[split] for split in ("valid", "test")}
