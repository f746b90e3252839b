"""Weights & Biases, in its offline mode."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.loggers.helpers import interrupted_and_resumed, written
from tests.loggers.wandb_file import records, values
from tests.training.helpers import config
from ugts_dist.config import flat
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.training.run import run


def parts(folder: Path) -> list[list[Any]]:
    """The records of each process that logged to a run, the oldest first."""
    files = sorted(folder.glob("wandb/offline-run-*/*.wandb"), key=lambda file: file.stat().st_mtime_ns)
    return [list(records(file)) for file in files]


def of_kind(kind: str, part: list[Any]) -> list[Any]:
    return [getattr(record, kind) for record in part if record.WhichOneof("record_type") == kind]


def test_a_resumed_run_is_one_run_with_settings_epochs_and_result() -> None:
    settings, result, folder = interrupted_and_resumed("wandb")
    first, second = parts(folder)
    known = json.loads((folder / "loggers.json").read_text())["wandb"]
    for part in (first, second):
        (begun,) = of_kind("run", part)[:1]
        assert (begun.run_id, begun.project, begun.display_name) == (known, "tickets", "mine")
        logged = values(begun.config.update)
        assert {name: logged[name] for name in flat(settings.to_dict())} == flat(settings.to_dict())
    assert [end.exit_code for part in (first, second) for end in of_kind("exit", part)] == [1, 0]

    epochs = {line.step.num: values(line.item) for part in (first, second) for line in of_kind("history", part)}
    wanted = written(folder)
    assert list(epochs) == list(wanted) == [0, 1, 2, 3]
    assert {number: {name: epochs[number][name] for name in wanted[number]} for number in wanted} == wanted

    (summary,) = (found for line in of_kind("summary", second) if "result/valid" in (found := values(line.update)))
    expected = {"valid": result.valid, "test": result.test, "sparsity": result.sparsity, "bytes": result.bytes}
    assert {name: summary[f"result/{name}"] for name in expected} == expected


@pytest.fixture
def _without_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Online, and nobody has logged in. The package reads its variables once a session."""
    import wandb

    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    wandb.teardown()
    yield
    wandb.teardown()


@pytest.mark.usefixtures("_without_key")
def test_without_a_key_a_run_does_not_begin() -> None:
    with pytest.raises(InputError, match=r"^log\.to is wandb, which can't begin \(UsageError: No API key") as caught:
        run(config(log__to=["wandb"], run__folder="mine"), Ranks())
    assert "\n" not in str(caught.value)
    assert not Path("mine").exists()
