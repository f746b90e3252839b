"""ASHA (Li et al. 2020) among trials of about the same sparsity, after their ramp."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from tuning.answer import Goal
from tuning.manifest import Manifest
from tuning.plan import Trial
from tuning.search_options import SearchOptions
from ugts_dist.config import Config
from ugts_dist.methods import METHODS
from ugts_dist.metrics import by_title
from ugts_dist.text_files import JSON_BYTES, parse_json, read_bytes

TIME = "epochs_after_ramp"
_QUALITY = "quality"
_BANDS_PER_DECADE = 4
# Fields other than the sparsity that determine the number of bytes.
_OF_SIZE = [("model", name) for name in ("arch", "depth", "width", "heads", "skip", "factory", "args")]
_OF_SIZE += [
    ("supermask", name) for name in ("coats", "signed", "pruned", "locked", "min_layer_density", "input_sparsity")
]


class AshaBySparsity(FIFOScheduler):
    """One ASHA for each band of sparsities. Trained dense networks are never stopped.

    A sparser ticket is less accurate and yet on the front, so it competes only within its band: trials whose density
    differs by less than a factor of about 1.8. With objective bytes, the same holds for a narrower network and for
    another form of masks, so that a band has trials of one network and one form. Time counts from the end of the ramp,
    so that high sparsities, which converge last, have their grace period then.
    """

    def __init__(self, search: SearchOptions) -> None:
        super().__init__()
        self._search = search
        self._bands: dict[Hashable, ASHAScheduler] = {}

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        band = self._band(trial)
        if band is not None:
            band.on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        band = self._band(trial)
        if band is None or TIME not in result:  # the last report of a trial has no time
            return TrialScheduler.CONTINUE
        goal = Goal.of(self._search.objective, by_title(result["metric"]))
        return band.on_trial_result(tune_controller, trial, {**result, _QUALITY: goal.quality(result["valid"])})

    def replay(self, trials: Iterable[Trial], manifest: Manifest) -> None:
        """Replay the reports of trials of an earlier part of the search, which restores the rungs."""
        for trial in trials:
            lines = _lines(manifest.runs / trial.key / "metrics.jsonl")
            known = SimpleNamespace(trial_id=trial.key, config={"trial": {"config": trial.config.to_dict()}})
            if not lines or trial.dense:
                continue
            self.on_trial_add(None, known)
            for line in lines:
                time = after_ramp(trial.config, line["epoch"])
                self.on_trial_result(None, known, {TIME: time, "valid": line["valid"], "metric": manifest.metric.title})

    def _band(self, trial: Any) -> ASHAScheduler | None:
        config = trial.config["trial"]["config"]
        if not METHODS[config["supermask"]["method"]].masks:
            return None
        number: Hashable = band_of(config["supermask"]["sparsity"])
        if self._search.objective == "bytes":
            size = {name: config[section][name] for section, name in _OF_SIZE}
            number = (number, repr(size))
        if number not in self._bands:
            search = self._search
            self._bands[number] = ASHAScheduler(
                time_attr=TIME,
                metric=_QUALITY,
                mode="max",
                # Trials end by themselves: only the rungs below this number matter, and they are few.
                max_t=max(10_000, 2 * search.grace),
                grace_period=search.grace,
                reduction_factor=search.reduction,
                stop_last_trials=False,
            )
        return self._bands[number]


def band_of(sparsity: float) -> int:
    """The band: a quarter of a decade of densities."""
    return math.floor(-_BANDS_PER_DECADE * math.log10(1.0 - sparsity) + 1e-9)


def after_ramp(config: Config, epoch: int) -> int:
    """Epochs since the end of the ramp, including this one; 0 or less before."""
    return epoch + 1 - config.ramp_epochs


def _lines(file: Path) -> list[dict[str, Any]]:
    try:
        return [parse_json(line) for line in read_bytes(file, JSON_BYTES).decode().splitlines()]
    except (OSError, ValueError):
        return []
