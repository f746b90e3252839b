"""Trials proposed by Optuna: towards the front of sparsity or bytes and validation metric."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from tuning.answer import Goal, Point, point_of
from tuning.domains import Interval, Values
from tuning.manifest import OVER, Manifest
from tuning.plan import Trial, make_trial
from tuning.space import Space
from tuning.work import FINISHED
from ugts_dist.errors import InputError

_ATTEMPTS = 100  # to propose a new run


class ParetoSampler(Searcher):
    """Optuna's sampler with two objectives. It first receives the results of earlier parts of the search.

    Raises InputError if Optuna is not installed.
    """

    def __init__(self, space: Space, manifest: Manifest, settings: Callable[[Trial], dict[str, Any]]) -> None:
        super().__init__()  # no metric of Ray's: a trial has both objectives only at its end
        try:
            import optuna
        except ModuleNotFoundError:
            raise InputError(
                f"{space.source}: search.kind is optuna, which is not installed (pip install optuna); "
                "allowed are grid and random"
            ) from None
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space, self._manifest, self._settings = space, manifest, settings
        self._domains = {name: _distribution(domain) for name, domain in space.tickets.fields.items()}
        self._optuna = optuna
        self._study = optuna.create_study(
            sampler=optuna.samplers.TPESampler(seed=space.search.seed), directions=["maximize", "maximize"]
        )
        self._asked: dict[str, Any] = {}
        self.trials: dict[str, Trial] = {}
        self.num_known = 0
        self._tell_known()

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next trial, as plain values; None if no new one is found."""
        for _ in range(_ATTEMPTS):
            asked = self._study.ask(self._domains)
            try:
                trial = self._trial(asked.params)
            except InputError:  # a combination that the configuration does not allow
                self._study.tell(asked, state=self._optuna.trial.TrialState.FAIL)
                continue
            if trial.key not in self.trials:
                self._asked[trial_id] = asked
                self.trials[trial.key] = trial
                self._manifest.add([trial])
                self._manifest.trials[trial.key]["params"] = dict(asked.params)
                return {"trial": self._settings(trial)}
            self._study.tell(asked, state=self._optuna.trial.TrialState.FAIL)
        return None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Give Optuna the two objectives of a finished trial."""
        asked = self._asked.pop(trial_id)
        if result is not None and FINISHED in result:
            self._study.tell(asked, self._objectives(Point(result["reached"], result["valid"], result["bytes"])))
        else:
            self._study.tell(asked, state=self._optuna.trial.TrialState.FAIL)

    def _objectives(self, point: Point) -> list[float]:
        merit, quality = point.values(Goal.of(self._space.search.objective, self._manifest.metric))
        return [quality, merit]

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the manifest and the runs are enough."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing, see `save`."""

    def _trial(self, params: dict[str, Any]) -> Trial:
        fields = self._space.tickets.fields
        values = {name: d.values[params[name]] if isinstance(d, Values) else params[name] for name, d in fields.items()}
        return make_trial(self._space.tickets, values, dense=False, source=self._space.source)

    def _tell_known(self) -> None:
        for key, known in self._manifest.trials.items():
            if "params" not in known or known["state"] not in OVER:
                continue
            trial = self._trial(known["params"])
            result = self._manifest.result(key)
            if trial.key == key:
                self.trials[key] = trial
                self.num_known += 1
                if result is not None:
                    values = self._objectives(point_of(result))
                    self._study.add_trial(
                        self._optuna.trial.create_trial(
                            params=known["params"], distributions=self._domains, values=values
                        )
                    )


def _distribution(domain: Values | Interval) -> Any:
    """Optuna's distribution of a domain; for a list, of its indices, since Optuna has no lists as values."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(domain, Values):
        return CategoricalDistribution(range(len(domain.values)))
    if domain.whole:
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log)
    return FloatDistribution(domain.low, domain.high, log=domain.log)
