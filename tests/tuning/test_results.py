"""Whole searches without Ray: stages, seeds, the answer and its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.tuning.helpers import SMALL, SerialSearch, search_here, space
from tuning.interrupt import Interrupt
from tuning.manifest import open_search
from tuning.plan import Trial, list_trials
from tuning.report import plot, show, summary
from tuning.view import View
from ugts_dist.config import load_toml
from ugts_dist.spread import Spread
from ugts_dist.supermask import Ticket


def test_the_answer_is_made_of_the_runs_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    searched = space(margin=0.9)  # all match, so that the sparsest is known
    answer, outcome, manifest = search_here(searched, tmp_path)
    assert answer.dense is not None
    assert answer.best == 0
    assert answer.winners[0].sparsity == pytest.approx(0.9, abs=1e-3)
    for winner in [answer.dense, *answer.winners]:
        results = [manifest.result(run.key) for run in outcome.seeds[winner.key]]
        assert [run.config.run.seed for run in outcome.seeds[winner.key]] == [0, 1]
        assert winner.valid == Spread.of([result["valid"] for result in results if result])
        assert winner.test == Spread.of([result["test"] for result in results if result])
    best = load_toml(tmp_path / "best.toml")
    first = next(trial for trial in outcome.trials if trial.key == answer.winners[0].key)
    assert best.determining() == first.config.determining()
    assert best.run.folder == ""
    tickets = sorted((tmp_path / "tickets").iterdir())
    assert len(tickets) == 2 * len(answer.winners)
    assert all(Ticket.load(path).masks for path in tickets)
    rows = pq.read_table(tmp_path / "results.parquet").to_pylist()
    assert {row["key"] for row in rows} == {path.name for path in (tmp_path / "runs").iterdir()}
    assert all((row["test"] is not None) == row["winner"] for row in rows)
    plot(answer, "small", tmp_path / "front.png")
    assert (tmp_path / "front.png").read_bytes()[:4] == b"\x89PNG"
    show(answer, "small", tmp_path)
    output = capsys.readouterr().out
    assert f"{answer.winners[0].test.mean:.4f}" in output
    assert "sparsest matching ticket: sparsity 0." in output


BYTES = (
    SMALL.replace('"model.width" = 32', '"model.width" = {grid = [8, 32]}')
    .replace('"optim.lr" = {grid = [0.01, 0.05]}', '"supermask.coats" = {grid = [1, 2]}')
    .replace("[0.5, 0.9]", "[0.9]")
)


def test_for_bytes_the_smallest_file_that_matches_is_the_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    searched = space(BYTES, objective="bytes", margin=0.9)  # all match
    answer, outcome, manifest = search_here(searched, tmp_path)
    assert answer.objective == "bytes"
    files = {run.key: manifest.runs / run.key / "best.ticket" for runs in outcome.seeds.values() for run in runs}
    sizes = {
        winner.key: [files[run.key].stat().st_size for run in outcome.seeds[winner.key]] for winner in answer.winners
    }
    for winner in answer.winners:
        assert winner.bytes == Spread.of([float(size) for size in sizes[winner.key]])
    assert answer.best is not None
    best = answer.winners[answer.best]
    assert best.bytes.mean == min(winner.bytes.mean for winner in answer.winners)
    assert best.fields == {"model.width": 8, "supermask.coats": 1}
    assert load_toml(tmp_path / "best.toml").model.width == 8
    tickets = [trial for trial in outcome.trials if not trial.dense]
    assert len(tickets) == 4
    known = {trial.key: manifest.result(trial.key) or {} for trial in tickets}
    better = [
        trial.key
        for trial in tickets
        if all(
            (other["bytes"], -other["valid"]) == (known[trial.key]["bytes"], -known[trial.key]["valid"])
            or other["bytes"] > known[trial.key]["bytes"]
            or other["valid"] < known[trial.key]["valid"]
            for other in known.values()
        )
    ]
    assert {winner.key for winner in answer.winners} == {*better}
    rows = pq.read_table(tmp_path / "results.parquet").to_pylist()
    assert {row["key"] for row in rows if row["front"]} == {*better}
    plot(answer, "small", tmp_path / "front.png")
    assert (tmp_path / "front.png").read_bytes()[:4] == b"\x89PNG"
    show(answer, "small", tmp_path)
    output = capsys.readouterr().out
    assert f"smallest matching ticket: {best.bytes.mean:,.0f} bytes, sparsity 0.9" in output
    assert "front of bytes and validation accuracy" in output


class ImpatientSearch(SerialSearch):
    """A search whose scheduler stops every second trial."""

    def _fit(
        self, param_space: dict[str, Any], trials: dict[str, Trial], scheduler: Any, sampler: Any, count: int
    ) -> None:
        run_through = [*trials] if scheduler is None else [*trials][::2]
        for key in trials.keys() - run_through:
            self._manifest.change(key, "stopped")
        super()._fit(param_space, {key: trials[key] for key in run_through}, scheduler, sampler, count)


def test_no_seed_of_a_winner_is_stopped_early(tmp_path: Path) -> None:
    searched = space(scheduler="asha", seeds=3)
    with open_search(tmp_path, searched) as manifest, View("small") as view:
        search = ImpatientSearch(searched, manifest, 1, view, Interrupt("ugts tune"))
        explored = list_trials(searched)
        again = [trial.reseeded(1) for trial in explored]
        manifest.add(again)
        for trial in again:
            manifest.change(trial.key, "stopped")  # as by an earlier part of the search
        outcome = search.run()
    assert {manifest.state(trial.key) for trial in explored} == {"finished", "stopped"}
    assert outcome.seeds
    for runs in outcome.seeds.values():
        assert [run.config.run.seed for run in runs] == [0, 1, 2]
        assert all(manifest.state(run.key) == "finished" for run in runs)


def test_a_warm_start_runs_the_parents_of_each_seed_too(tmp_path: Path) -> None:
    text = SMALL.replace("[0.01, 0.05]", "[0.05]")
    _, outcome, manifest = search_here(space(text, warm_start=True, dense=False), tmp_path)
    cold = {trial.config.supermask.sparsity: trial for trial in list_trials(space(text))}
    (sparse,) = [runs for key, runs in outcome.seeds.items() if runs[0].parent]
    assert [run.config.run.seed for run in sparse] == [0, 1]
    for run in sparse:
        folder = manifest.runs / run.key
        assert Path(load_toml(folder / "config.toml").run.init_scores).name == run.parent
        assert manifest.result(run.parent) is not None
    assert sparse[0].key != cold[0.9].key
    assert outcome.trials[0].key == cold[0.5].key


def test_without_a_match_the_summary_says_so(tmp_path: Path) -> None:
    answer, _, _ = search_here(space(SMALL.replace("[0.5, 0.9]", "[0.97]"), margin=0.0, seeds=1), tmp_path)
    assert answer.best is None
    assert "no ticket on the front matches" in summary(answer)[-1]
