"""Small searches for tests: spaces as text, and a search that runs its trials here, without Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tuning.interrupt import Interrupt
from tuning.manifest import Manifest, open_search
from tuning.plan import Trial
from tuning.results import Answer, answer_of, write_results
from tuning.search import Outcome, Search
from tuning.space import Space, parse_space
from tuning.view import View
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.training.run import run

SMALL = """
[base]
preset = "digits"
[fields]
"supermask.sparsity" = {grid = [0.5, 0.9]}
"optim.lr" = {grid = [0.01, 0.05]}
"model.width" = 32
"run.epochs" = 12
"batch.size" = 0
"batch.fan_out" = {grid = [[]]}
"log.to" = []
"checkpoint.every_steps" = 2
[search]
seeds = 2
"""


def space(text: str = SMALL, **search: Any) -> Space:
    """The small space, or another one, with some options of its [search] changed."""
    shown = {key: str(value).lower() if isinstance(value, bool) else repr(value) for key, value in search.items()}
    lines = "".join(f"{key} = {value}\n" for key, value in shown.items())
    kept = [line for line in text.splitlines() if line.partition(" =")[0] not in search]
    return parse_space("\n".join(kept) + "\n" + lines, "space.toml", "small")


class SerialSearch(Search):
    """Runs the trials of each stage one after another in this process."""

    def _fit(
        self, param_space: dict[str, Any], trials: dict[str, Trial], scheduler: Any, sampler: Any, count: int
    ) -> None:
        for trial in trials.values():
            run(trial.run_config(self._manifest.runs.absolute()), Ranks())
            self._manifest.change(trial.key, "finished")


def search_here(searched: Space, folder: Path) -> tuple[Answer, Outcome, Manifest]:
    """A whole search without Ray, its files written."""
    with open_search(folder, searched) as manifest, View("small") as view:
        outcome = SerialSearch(searched, manifest, 1, view, Interrupt("ugts tune")).run()
        answer = answer_of(outcome, searched, manifest)
        write_results(answer, outcome, searched, manifest)
    return answer, outcome, manifest
