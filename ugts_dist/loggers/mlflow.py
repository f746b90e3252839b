"""MLflow, at MLFLOW_TRACKING_URI or, without it, at MLflow's own default: mlflow.db in the working directory."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ugts_dist.loggers.base import LoggedRun, Logger

_MOST_PARAMS = 100  # that MLflow takes in one request


class MLflow(Logger):
    """One run in the experiment `log.project`. The client leaves alone what a program has set by `mlflow.set_...`."""

    extra = "mlflow"

    def open(self, run: LoggedRun, known: str) -> str:
        from mlflow import MlflowClient

        self._client: Any = MlflowClient()
        if known and self._has(known):
            self._id = known
            self._client.update_run(known, status="RUNNING")
        else:
            self._id = self._client.create_run(self._experiment(run.project), run_name=run.name).info.run_id
            self._log_settings(run.settings)
        return self._id

    def _has(self, known: str) -> bool:
        """Whether the store has this run; a run may be resumed with another store, or its record deleted."""
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_run(known).info.lifecycle_stage == "active"
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise

    def _experiment(self, name: str) -> str:
        """The id of the experiment of this name, which is created if there is none."""
        from mlflow.exceptions import MlflowException

        experiment = self._client.get_experiment_by_name(name)
        if experiment is not None:
            return experiment.experiment_id
        try:
            return self._client.create_experiment(name)
        except MlflowException:
            experiment = self._client.get_experiment_by_name(name)
            if experiment is None:
                raise
            return experiment.experiment_id  # another run has just created it

    def _log_settings(self, settings: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        params = [Param(name, str(value)) for name, value in settings.items()]
        for start in range(0, len(params), _MOST_PARAMS):
            self._client.log_batch(self._id, params=params[start : start + _MOST_PARAMS])

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        self._log_metrics(metrics, number)

    def result(self, values: Mapping[str, float]) -> None:
        self._log_metrics({f"result/{name}": value for name, value in values.items()}, 0)

    def _log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self._id, [Metric(name, value, now, step) for name, value in metrics.items()])

    def close(self, finished: bool) -> None:
        self._client.set_terminated(self._id, "FINISHED" if finished else "KILLED")
