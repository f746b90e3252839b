"""The search: stages of trials through Ray Tune, each a run in its own folder, until the winners are known."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from ray import tune
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from tuning.answer import Goal, choose_winners, point_of
from tuning.interrupt import Interrupt
from tuning.manifest import OVER, Manifest
from tuning.plan import Trial, generations, linked, list_dense, list_trials, with_ancestors
from tuning.scheduler import AshaBySparsity
from tuning.space import Space
from tuning.view import View
from tuning.watcher import Watcher, key_of
from tuning.work import run_here, run_on_workers
from ugts_dist.errors import InputError
from ugts_dist.spread import Spread

_DRIVER_MEMORY = 1_000_000  # bytes: a process that waits for workers must request a resource, but none of their CPUs


@dataclass(frozen=True)
class Outcome:
    """All runs of a search.

    Attributes:
        trials: tickets and trained dense networks, with the space's own seed.
        seeds: key of each winner, and of the best dense network -> its runs with all seeds.
    """

    trials: list[Trial]
    seeds: dict[str, list[Trial]]


class Search:
    """One search, on the cluster that this process is connected to."""

    def __init__(self, space: Space, manifest: Manifest, at_once: int, view: View, interrupt: Interrupt) -> None:
        self._space, self._manifest, self._at_once, self._view = space, manifest, at_once, view
        self._interrupt = interrupt
        self._ray = manifest.folder.absolute() / "ray"  # never read again: the manifest has the states of trials

    def run(self) -> Outcome:
        """Run all stages. Raises InputError if every trial failed, StoppedError if it is asked to stop."""
        dense = list_dense(self._space)
        if self._space.search.kind == "optuna":
            self._run_all("trained dense", dense)
            tickets = self._adaptive()
        else:
            listed = list_trials(self._space)
            tickets = linked(listed) if self._space.search.warm_start else listed
            first, *later = generations(tickets)
            self._run_all("trials", [*dense, *first])
            for group in later:
                self._run_all("trials", group)
        self._refuse_if_none([*dense, *tickets])
        seeds = self._all_seeds(dense, tickets)
        shutil.rmtree(self._ray, ignore_errors=True)
        return Outcome([*dense, *tickets], seeds)

    def _all_seeds(self, dense: Sequence[Trial], tickets: Sequence[Trial]) -> dict[str, list[Trial]]:
        """The best of the dense networks and the winners, each with its runs of every seed."""
        search = self._space.search
        known = [trial for trial in dense if self._finished(trial)]
        best = max(known, key=lambda trial: self._goal.quality(self._valid(trial)), default=None)
        runs = {best.key: [best.reseeded(offset) for offset in range(search.seeds)]} if best else {}
        reference = [run for group in runs.values() for run in group]
        if search.winners:  # the choice depends on the dense network's deviation
            self._run_to_the_end("trained dense, all seeds", reference)
        winners = self._winners(tickets, [run for run in reference if self._finished(run)])
        families = [self._with_seed(winners, tickets, offset) for offset in range(search.seeds)]
        chains = [trial for family, _ in families[1:] for trial in family]
        for group in generations([*reference, *chains]):
            self._run_to_the_end("winners, all seeds", group)
        runs |= {winner.key: [own[i] for _, own in families] for i, winner in enumerate(winners)}
        return {key: [run for run in group if self._finished(run)] for key, group in runs.items()}

    def _winners(self, tickets: Sequence[Trial], dense: Sequence[Trial]) -> list[Trial]:
        search = self._space.search
        finished = [trial for trial in tickets if self._finished(trial)]
        points = [point_of(self._result(trial)) for trial in finished]
        reference = Spread.of([self._valid(run) for run in dense]) if dense else None
        chosen = choose_winners(points, reference, search.margin, search.winners, self._goal)
        return [finished[i] for i in chosen]

    def _with_seed(
        self, winners: Sequence[Trial], tickets: Sequence[Trial], offset: int
    ) -> tuple[list[Trial], list[Trial]]:
        """The winners with another seed, and the runs that they need: their parents change, too."""
        if not self._space.search.warm_start:
            own = [winner.reseeded(offset) for winner in winners]
            return own, own
        chain = linked(trial.reseeded(offset) for trial in list_trials(self._space))
        own = [chain[tickets.index(winner)] for winner in winners]
        return with_ancestors(own, chain), own

    def _run_all(self, title: str, trials: Sequence[Trial]) -> None:
        """Run the trials that are not over. The search's scheduler may stop some."""
        self._run_stage(title, trials, OVER, self._scheduler(trials))

    def _run_to_the_end(self, title: str, trials: Sequence[Trial]) -> None:
        """Run all trials to the end, including stopped ones: a winner's mean is over all of its seeds."""
        self._run_stage(title, trials, OVER - {"stopped"}, None)

    def _run_stage(
        self, title: str, trials: Sequence[Trial], settled: Set[str], scheduler: TrialScheduler | None
    ) -> None:
        trials = list({trial.key: trial for trial in trials}.values())
        self._manifest.add(trials)
        states = {trial.key: self._manifest.state(trial.key) for trial in trials}
        over = {key: state for key, state in states.items() if state in settled}
        self._show_stage(title, trials, over)
        todo = [trial for trial in trials if trial.key not in over]
        if todo:
            space = {"trial": tune.grid_search([self._settings(trial) for trial in todo])}
            self._fit(space, {trial.key: trial for trial in todo}, scheduler, None, 1)
        lost = [trial for trial in todo if self._manifest.state(trial.key) == "lost"]
        if lost:
            raise RuntimeError(f"{len(lost)} trial(s) died more often than search.failures allows: {lost[0].label}")

    def _show_stage(self, title: str, trials: Sequence[Trial], over: Mapping[str, str]) -> None:
        """Show what is to come, and what is known of it."""
        for trial in trials:
            if over.get(trial.key) == "finished":
                result = self._result(trial)
                self._view.finished(trial, result["valid"], result["sparsity"], self._manifest.metric)
        self._view.stage(title, trials, over)

    def _adaptive(self) -> list[Trial]:
        """Run trials that Optuna proposes, one after another, from earlier results."""
        from tuning.sampler import ParetoSampler

        sampler = ParetoSampler(self._space, self._manifest, self._settings)
        over = {key: self._manifest.state(key) for key in sampler.trials}
        self._show_stage("trials", list(sampler.trials.values()), over)
        missing = self._space.search.trials - sampler.num_known
        if missing > 0:
            self._fit({}, sampler.trials, self._scheduler(sampler.trials.values()), sampler, missing)
        return list(sampler.trials.values())

    def _fit(
        self,
        param_space: dict[str, Any],
        trials: dict[str, Trial],
        scheduler: TrialScheduler | None,
        sampler: Searcher | None,
        count: int,
    ) -> None:
        search = self._space.search
        alone = search.workers == 1
        wanted = {"cpu": search.cpus, "gpu": search.gpus} if alone else {"memory": _DRIVER_MEMORY}
        # The next trial reuses the process, which saves the seconds of its imports. A process that waits for workers
        # can be stopped only by ending it.
        reuse = alone or scheduler is None
        tuner = tune.Tuner(
            tune.with_resources(run_here if alone else run_on_workers, wanted),
            param_space=param_space,
            tune_config=tune.TuneConfig(
                num_samples=count,
                max_concurrent_trials=self._at_once,
                scheduler=scheduler,
                search_alg=sampler,
                reuse_actors=reuse,
                trial_name_creator=key_of,
                trial_dirname_creator=key_of,
            ),
            run_config=tune.RunConfig(
                name=f"stage-{time.time_ns()}",
                storage_path=str(self._ray),
                verbose=0,
                callbacks=[Watcher(self._manifest, self._view, trials, self._interrupt)],
                failure_config=tune.FailureConfig(max_failures=search.failures),
            ),
        )
        tuner.fit()

    def _scheduler(self, trials: Iterable[Trial]) -> TrialScheduler | None:
        """The scheduler, which first receives the reports of trials that are over."""
        search = self._space.search
        if search.scheduler != "asha":
            return None
        scheduler = AshaBySparsity(search)
        known = list_trials(self._space) if search.kind != "optuna" else trials
        scheduler.replay((trial for trial in known if self._manifest.state(trial.key) in OVER), self._manifest)
        return scheduler

    def _settings(self, trial: Trial) -> dict[str, Any]:
        """The argument of the trainables, as plain values."""
        config, search = trial.run_config(self._manifest.runs.absolute()), self._space.search
        shared = {name: getattr(search, name) for name in ("workers", "cpus", "gpus", "failures")}
        return {"key": trial.key, "config": config.to_dict(), "ray": str(self._ray / "workers"), **shared}

    @property
    def _goal(self) -> Goal:
        """Known when a trial has finished."""
        return Goal.of(self._space.search.objective, self._manifest.metric)

    def _finished(self, trial: Trial) -> bool:
        return self._manifest.state(trial.key) == "finished"

    def _result(self, trial: Trial) -> dict[str, Any]:
        result = self._manifest.result(trial.key)
        assert result is not None
        return result

    def _valid(self, trial: Trial) -> float:
        return float(self._result(trial)["valid"])

    def _refuse_if_none(self, trials: Sequence[Trial]) -> None:
        if not any(self._finished(trial) for trial in trials):
            message = next((self._manifest.message(trial.key) for trial in trials), "") or "every trial was stopped"
            raise InputError(f"{self._space.source}: no trial finished; the first one: {message}")
