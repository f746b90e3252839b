"""MLflow, with a store in a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.loggers.helpers import interrupted_and_resumed, logged_run, written
from ugts_dist.config import flat
from ugts_dist.loggers import LoggedRun


@pytest.fixture
def client() -> Any:
    from mlflow import MlflowClient

    return MlflowClient()


def test_a_resumed_run_is_one_run_with_settings_epochs_and_result(client: Any) -> None:
    settings, result, folder = interrupted_and_resumed("mlflow")
    (logged,) = client.search_runs([client.get_experiment_by_name("tickets").experiment_id])
    assert logged.info.run_id == json.loads((folder / "loggers.json").read_text())["mlflow"]
    assert (logged.info.run_name, logged.info.status) == ("mine", "FINISHED")
    assert logged.data.params == {name: str(value) for name, value in flat(settings.to_dict()).items()}

    wanted = written(folder)
    assert list(wanted) == [0, 1, 2, 3]
    for name in wanted[0]:
        history = {point.step: point.value for point in client.get_metric_history(logged.info.run_id, name)}
        assert history == {number: pytest.approx(metrics[name]) for number, metrics in wanted.items()}
    expected = {"valid": result.valid, "test": result.test, "sparsity": result.sparsity, "bytes": result.bytes}
    assert {name: logged.data.metrics[f"result/{name}"] for name in expected} == pytest.approx(expected)


def test_more_settings_than_a_request_holds(client: Any, tmp_path: Path) -> None:
    from ugts_dist.loggers.mlflow import MLflow

    settings = {f"a.b{number}": number for number in range(201)}
    known = MLflow().open(LoggedRun(tmp_path, "tickets", settings), "")
    assert client.get_run(known).data.params == {name: str(value) for name, value in settings.items()}


def test_a_run_that_the_store_does_not_have_begins_anew(client: Any, tmp_path: Path) -> None:
    from ugts_dist.loggers.mlflow import MLflow

    first, second, third = MLflow(), MLflow(), MLflow()
    known = first.open(logged_run(tmp_path / "mine"), "0" * 32)
    assert known != "0" * 32
    first.close(finished=False)
    assert client.get_run(known).info.status == "KILLED"
    assert second.open(logged_run(tmp_path / "mine"), known) == known
    assert client.get_run(known).info.status == "RUNNING"
    client.delete_run(known)
    assert third.open(logged_run(tmp_path / "mine"), known) not in (known, "")
