"""The results of a search, from its runs' own folders: rows, files and the answer."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tuning.answer import Goal, Point, best_matching, front, matches, point_of, tolerance
from tuning.manifest import Manifest
from tuning.plan import Trial
from tuning.search import Outcome
from tuning.space import Space
from ugts_dist.atomic import write_file, write_text
from ugts_dist.report import search_files
from ugts_dist.spread import Spread


@dataclass(frozen=True)
class Winner(search_files.Winner):
    """A point of the front, or the dense network, over its seeds."""

    bytes: Spread

    @property
    def point(self) -> Point:
        """The point of its means."""
        return Point(self.sparsity, self.valid.mean, self.bytes.mean)


@dataclass(frozen=True)
class Answer(search_files.Answer):
    """The answer with all points.

    Attributes:
        points: every finished ticket, for the plot.
        trials: counts by state.
    """

    dense: Winner | None
    winners: list[Winner]
    points: list[Point]
    trials: dict[str, int]

    @property
    def goal(self) -> Goal:
        return Goal(self.objective, self.higher_is_better)


def answer_of(outcome: Outcome, space: Space, manifest: Manifest) -> Answer:
    """The answer, from the runs' own results. Test metrics are read for the winners only."""
    by_key = {trial.key: trial for trial in outcome.trials}
    entries = [_winner(by_key[key], runs, manifest) for key, runs in outcome.seeds.items() if runs]
    dense = next((entry for entry in entries if entry.dense), None)
    tickets = [entry for entry in entries if not entry.dense]
    states = [manifest.state(trial.key) for trial in outcome.trials]
    results = [result for trial in outcome.trials if (result := manifest.result(trial.key)) is not None]
    points = [point_of(result) for _, result in _finished_tickets(outcome, manifest)]
    margin, goal = space.search.margin, Goal.of(space.search.objective, manifest.metric)
    best = None
    if dense is not None:
        best = best_matching([ticket.point for ticket in tickets], dense.valid, margin, goal)
        judged = [matches(ticket.valid.mean, dense.valid, margin, goal) for ticket in tickets]
        tickets = [replace(ticket, matches=is_match) for ticket, is_match in zip(tickets, judged, strict=True)]
    return Answer(
        goal.objective,
        dense,
        tickets,
        best,
        0.0 if dense is None else tolerance(dense.valid, margin),
        results[0]["metric"],
        points,
        {state: states.count(state) for state in sorted({*states})},
    )


def write_results(answer: Answer, outcome: Outcome, space: Space, manifest: Manifest) -> None:
    """`results.parquet`, `answer.json`, `best.toml` and the winning tickets, in the search's folder."""
    folder = manifest.folder
    _write_parquet(folder / "results.parquet", outcome, manifest, answer.goal)
    write_text(folder / "answer.json", json.dumps(asdict(answer), indent=1))
    tickets = folder / "tickets"
    shutil.rmtree(tickets, ignore_errors=True)
    tickets.mkdir()
    for winner in answer.winners:
        for run in outcome.seeds[winner.key]:
            name = f"sparsity-{winner.sparsity:.4f}-{winner.key}-seed{run.config.run.seed}.ticket"
            shutil.copyfile(_path(manifest, run), tickets / name)
    best = _best(answer)
    if best is not None:
        trial = next(trial for trial in outcome.trials if trial.key == best.key)
        config = trial.run_config(manifest.runs.absolute())
        plain = config.replace({"run.folder": "", "log.progress": trial.config.log.progress})
        write_text(folder / "best.toml", plain.to_toml())


def _best(answer: Answer) -> Winner | None:
    """The sparsest or smallest matching ticket; if none matches, the most accurate one."""
    if answer.best is not None:
        return answer.winners[answer.best]
    return max(answer.winners, key=lambda winner: answer.goal.quality(winner.valid.mean), default=None)


def _winner(trial: Trial, runs: list[Trial], manifest: Manifest) -> Winner:
    results = [manifest.result(run.key) or {} for run in runs]
    return Winner(
        trial.key,
        trial.dense,
        dict(trial.fields),
        Spread.of([result["sparsity"] for result in results]).mean,
        Spread.of([result["bytes"] for result in results]),
        Spread.of([result["valid"] for result in results]),
        Spread.of([result["test"] for result in results]),
        trial.dense,
    )


def _finished_tickets(outcome: Outcome, manifest: Manifest) -> list[tuple[Trial, dict[str, Any]]]:
    results = [(trial, manifest.result(trial.key)) for trial in outcome.trials if not trial.dense]
    return [(trial, result) for trial, result in results if result is not None]


def _path(manifest: Manifest, run: Trial) -> Path:
    return Path(str((manifest.result(run.key) or {})["path"]))


def _write_parquet(file: Path, outcome: Outcome, manifest: Manifest, goal: Goal) -> None:
    """Write a row for each run, with the test metric for winners only."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    seeds = {run.key: run for runs in outcome.seeds.values() for run in runs}
    tickets = _finished_tickets(outcome, manifest)
    on_front = {tickets[i][0].key for i in front([point_of(r) for _, r in tickets], goal)}
    rows = []
    for trial in {trial.key: trial for trial in (*outcome.trials, *seeds.values())}.values():
        result = manifest.result(trial.key) or {}
        rows.append(
            {
                "key": trial.key,
                "kind": "dense" if trial.dense else "ticket",
                "state": manifest.state(trial.key),
                "message": manifest.message(trial.key),
                "seed": trial.config.run.seed,
                "front": trial.key in on_front,
                "winner": trial.key in seeds,
                **{name: result.get(name) for name in ("sparsity", "valid", "epoch", "seconds", "bytes", "metric")},
                "test": result.get("test") if trial.key in seeds else None,
                **{f"field.{name}": _plain(value) for name, value in _fields(outcome, trial).items()},
                "folder": str(Path("runs") / trial.key),
            }
        )
    written = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), written)
    write_file(file, written.getvalue())


def _fields(outcome: Outcome, trial: Trial) -> dict[str, Any]:
    """The values of all fields that vary in some trial; None for an argument that another network does not have."""
    names = {name for other in outcome.trials for name in other.fields}
    values = trial.config.with_effect()
    return {name: values.get(name) for name in sorted(names)}


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, list | tuple) else value
