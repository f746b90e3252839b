"""In the searching process: forwards the events of trials to the manifest and the view."""

from __future__ import annotations

from typing import Any

from ray import tune

from tuning.interrupt import Interrupt
from tuning.manifest import OVER, Manifest
from tuning.plan import Trial
from tuning.scheduler import TIME
from tuning.view import View
from tuning.work import FAILED, FINISHED


class Watcher(tune.Callback):
    """Follows the trials of one stage."""

    def __init__(self, manifest: Manifest, view: View, trials: dict[str, Trial], interrupt: Interrupt) -> None:
        self._manifest, self._view, self._trials, self._interrupt = manifest, view, trials, interrupt

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Called several times a second. Raises StoppedError: here Ray is not handling an event."""
        self._interrupt.look()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        key = key_of(trial)
        if self._manifest.state(key) not in ("finished", "failed"):
            self._manifest.change(key, "running")
        self._view.row(self._trials[key])

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        key = key_of(trial)
        if "metric" in result:
            self._manifest.measured_by(result["metric"])
        if FAILED in result:
            self._manifest.change(key, "failed", result[FAILED])
        elif FINISHED in result:
            self._manifest.change(key, "finished")
            self._view.finished(self._trials[key], result["valid"], result["reached"], self._manifest.metric)
        elif TIME in result:
            self._view.epoch(key, result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        key = key_of(trial)
        if self._manifest.state(key) not in OVER:  # neither finished nor refused
            self._manifest.change(key, "stopped")
        self._view.end(key, self._manifest.state(key))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The trial has failed for the last time: it is not tried again."""
        key = key_of(trial)
        self._manifest.change(key, "lost", "died more often than search.failures allows")
        self._view.end(key, "lost")


def key_of(trial: Any) -> str:
    """The key of our trial, from Ray's."""
    return str(trial.config["trial"]["key"])
