"""A search of a graph with targets: lower is better for RMSE, in every choice and wherever it is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.tasks.test_kinds import graph_of
from tests.tuning.helpers import search_here, space
from tuning.manifest import Manifest, open_search
from tuning.report import plot, summary, table_of
from tuning.sampler import ParetoSampler
from tuning.space import Space
from tuning.status import Status
from ugts_dist.graphs.store_writer import write_store
from ugts_dist.metrics import METRICS
from ugts_dist.report.html import render
from ugts_dist.report.options import RunsOptions
from ugts_dist.report.run_list import run_list
from ugts_dist.report.search import search_page

TARGETS = """
[base]
preset = "digits"
[fields]
"supermask.sparsity" = {{grid = [0.5, 0.9]}}
"optim.lr" = {{grid = [1e-9, 0.05]}}
"supermask.output_rms" = 1.0
"data.name" = "{store}"
"model.width" = 32
"run.epochs" = 12
"batch.size" = 0
"batch.fan_out" = {{grid = [[]]}}
"log.to" = []
[search]
seeds = 1
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graph") / "targets"
    write_store(graph_of("regression"), folder)
    return folder


def searched(store: Path, **search: Any) -> Space:
    return space(TARGETS.format(store=store), **search)


def results_of(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "results.parquet").to_pylist()
    return rows


def test_without_dense_networks_the_lowest_error_is_the_best(store: Path, tmp_path: Path) -> None:
    answer, _, manifest = search_here(searched(store, dense=False), tmp_path)
    rows = results_of(tmp_path)
    assert {row["metric"] for row in rows} == {"RMSE"}
    assert (manifest.metric, answer.metric) == (METRICS["rmse"], "RMSE")
    lowest = min(rows, key=lambda row: row["valid"])
    assert f"lr = {lowest['field.optim.lr']}" in (tmp_path / "best.toml").read_text()
    assert f"sparsity = {lowest['field.supermask.sparsity']}" in (tmp_path / "best.toml").read_text()
    assert lowest["field.optim.lr"] == 0.05  # the others have not learnt
    # The front: no other trial is as sparse and has a lower error.
    others = [(round(row["sparsity"], 3), row["valid"]) for row in rows]
    for row in rows:
        own = round(row["sparsity"], 3), row["valid"]
        beaten = any(a >= own[0] and b <= own[1] and (a, b) != own for a, b in others)
        assert row["front"] is not beaten
    assert {winner.key for winner in answer.winners} == {row["key"] for row in rows if row["front"]}


def test_a_ticket_matches_with_an_error_that_is_not_much_higher(store: Path, tmp_path: Path) -> None:
    answer, _, _ = search_here(searched(store, margin=1000.0), tmp_path / "all")
    assert answer.dense is not None
    assert answer.best == 0
    assert all(winner.matches for winner in answer.winners)
    dense = [row["valid"] for row in results_of(tmp_path / "all") if row["kind"] == "dense"]
    assert answer.dense.valid.mean == min(dense)
    limit = f"at most {answer.dense.valid.mean:.4f} + 1000.0000"
    assert limit in summary(answer)[-1]
    page = render(search_page(tmp_path / "all"), tmp_path / "all")
    assert f"with a validation RMSE of {limit} (the margin)" in page
    plot(answer, "targets", tmp_path / "front.png")
    assert table_of(answer, "targets").row_count == 1 + len(answer.winners)


def test_the_list_of_searches_shows_the_lowest_error(store: Path, tmp_path: Path) -> None:
    search_here(searched(store), tmp_path / "mine")
    tickets = [row["valid"] for row in results_of(tmp_path / "mine") if row["kind"] == "ticket"]
    shown = run_list(RunsOptions((str(tmp_path),)))
    assert f"{min(tickets):.4f}" in shown
    assert f"{max(tickets):.4f}" not in shown


def test_the_best_ticket_so_far_has_the_lowest_error() -> None:
    status = Status()
    for valid, sparsity in ((3.0, 0.5), (2.0, 0.5), (2.0, 0.9), (2.0, 0.7), (5.0, 0.99)):
        status.finished(valid, sparsity, METRICS["rmse"])
    assert status.best == (2.0, 0.9)


def test_the_manifest_keeps_the_metric_that_a_trial_reports(store: Path, tmp_path: Path) -> None:
    """A search that was interrupted before a trial finished knows the direction of the metric."""
    with open_search(tmp_path, searched(store)) as manifest:
        assert manifest.metric.higher_is_better
        manifest.measured_by("MAE")
    with open_search(tmp_path, searched(store)) as manifest:
        assert manifest.metric == METRICS["mae"]


def test_optuna_goes_towards_low_errors(store: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    text = TARGETS.format(store=store).replace("{grid = [1e-9, 0.05]}", "{log_uniform = [1e-9, 0.1]}")
    with open_search(tmp_path, space(text, kind="optuna", trials=4)) as manifest:
        sampler = ParetoSampler(space(text, kind="optuna", trials=4), manifest, lambda trial: {"key": trial.key})
        manifest.measured_by("RMSE")
        for number, valid in enumerate((10.0, 3.0, 7.0)):
            assert sampler.suggest(str(number)) is not None
            told = {"finished": True, "metric": "RMSE", "valid": valid, "reached": 0.5, "bytes": 500}
            sampler.on_trial_complete(str(number), told)
        (best,) = sampler._study.best_trials
        assert best.values[0] == -3.0


def test_an_older_manifest_has_no_metric(tmp_path: Path) -> None:
    assert Manifest(tmp_path, "").metric.higher_is_better
