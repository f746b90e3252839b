"""The page of a search: a small real one, and the rest of it when files are missing or damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.report.parsed import Parsed, check_self_contained
from tests.tuning.helpers import SMALL, search_here, space
from tuning.report import plot
from tuning.results import Answer
from ugts_dist.errors import InputError
from ugts_dist.report.command import write_report
from ugts_dist.report.options import ReportOptions, RunsOptions
from ugts_dist.report.run_list import run_list

pytestmark = pytest.mark.xdist_group("reported search")

TEXT = SMALL.replace('"run.epochs" = 12', '"run.epochs" = 6')


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    folder = tmp_path_factory.mktemp("searches") / "small"
    answer, _, _ = search_here(space(TEXT), folder)
    plot(answer, "small", folder / "front.png")
    return folder, answer


@pytest.fixture
def folder(searched: tuple[Path, Answer], tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(searched[0], tmp_path / "small"))


def page_of(folder: Path) -> Parsed:
    parsed = Parsed.of(write_report(ReportOptions((str(folder),))))
    check_self_contained(parsed)
    return parsed


def change(file: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(file.read_text())
    edit(values)
    file.write_text(json.dumps(values))


def test_the_answer_is_that_of_the_search(searched: tuple[Path, Answer], folder: Path) -> None:
    answer, page = searched[1], page_of(folder)
    assert page.problems() == 0
    headings = ("", "sparsity", "optim.lr", "validation accuracy", "test accuracy", "seeds", "bytes", "matches")
    dense, *winners = page.table(*headings)
    assert answer.dense is not None
    for row, winner in zip([dense, *winners], [answer.dense, *answer.winners], strict=True):
        assert float(row[1]) == pytest.approx(winner.sparsity, abs=5e-5)
        for cell, values in ((row[3], winner.valid), (row[4], winner.test)):
            mean, deviation = map(float, cell.split(" ± "))
            assert (mean, deviation) == pytest.approx((values.mean, values.deviation), abs=5e-5)
        result = json.loads((folder / "runs" / winner.key / "result.json").read_text())
        assert row[5:7] == ["2", f"{result['bytes']:,}"]
    assert [row[-1] for row in winners] == ["yes" if winner.matches else "no" for winner in answer.winners]
    named = [place for place, row in enumerate(winners) if row[0] == "sparsest match"]
    assert named == ([] if answer.best is None else [answer.best])
    limit = f"at least {answer.dense.valid.mean:.4f} - {answer.tolerance:.4f} (one standard deviation"
    assert limit in page.text


def test_every_run_is_in_the_table(folder: Path) -> None:
    page = page_of(folder)
    rows = pq.read_table(folder / "results.parquet").to_pylist()
    (table,) = [table for table in page.tables if table[0][0] == "run"]
    shown = [dict(zip(table[0], row, strict=True)) for row in table[1:]]
    assert [row["folder in runs"] for row in shown] == [row["key"] for row in rows]
    for cells, row in zip(shown, rows, strict=True):
        assert cells["run"] == row["kind"]
        assert cells["state"] == "finished"
        assert float(cells["valid"]) == pytest.approx(row["valid"], abs=5e-5)
        assert (cells["test"] == "-") == (row["test"] is None)
        assert row["test"] is None or float(cells["test"]) == pytest.approx(row["test"], abs=5e-5)
        assert cells["optim.lr"] == f"{row['field.optim.lr']:g}"
        wanted = "-" if row["kind"] == "dense" else f"{row['field.supermask.sparsity']:g}"
        assert cells["supermask.sparsity"] == wanted


def test_the_list_of_runs_has_the_search(folder: Path) -> None:
    rows = pq.read_table(folder / "results.parquet").to_pylist()
    (listed,) = json.loads(run_list(RunsOptions((str(folder.parent),), json=True)))
    best = {kind: max(row["valid"] for row in rows if (row["kind"] == "dense") == kind) for kind in (True, False)}
    assert (listed["valid"], listed["dense_valid"]) == (best[False], best[True])
    assert listed["trials"] == listed["trials_done"] == len(rows)
    assert (listed["state"], listed["metric"]) == ("finished", "accuracy")


def test_plot_space_and_best_configuration_are_in_the_page(folder: Path) -> None:
    page = page_of(folder)
    assert page.images() == [(folder / "front.png").read_bytes()]
    assert (folder / "space.toml").read_text() in page.text
    assert (folder / "best.toml").read_text() in page.text
    assert "ugts train --config best.toml" in page.text
    assert ["supermask.sparsity", "grid 0.5, 0.9"] in page.table("field", "values")


def test_a_match_and_its_absence_are_told(folder: Path) -> None:
    answer = folder / "answer.json"
    change(answer, lambda values: values.update(best=0))
    values = json.loads(answer.read_text())
    best, dense = values["winners"][0], values["dense"]
    assert (
        f"has sparsity {best['sparsity']:.4f}: validation accuracy {best['valid']['mean']:.4f} against "
        f"{dense['valid']['mean']:.4f}, test accuracy {best['test']['mean']:.4f} against {dense['test']['mean']:.4f} "
        "(means over 2 seeds)."
    ) in page_of(folder).text
    change(answer, lambda values: values.update(best=None))
    assert "No ticket of the front matches the best trained dense network." in page_of(folder).text
    change(answer, lambda values: values.update(dense=None))
    assert "trained no dense network" in page_of(folder).text


def test_a_search_for_bytes_tells_them(folder: Path) -> None:
    best = json.loads((folder / "answer.json").read_text())["winners"][0]
    change(folder / "answer.json", lambda values: values.update(objective="bytes", best=0))
    page = page_of(folder)
    assert (
        f"The smallest ticket that matches the best trained dense network has {best['bytes']['mean']:,.0f}" in page.text
    )
    assert "Front of bytes and validation metric" in page.text
    assert "smallest match" in page.text


def test_an_answer_of_a_search_before_there_were_objectives_is_read(folder: Path) -> None:
    def older(values: dict[str, Any]) -> None:
        values["sparsest"] = 0
        for name in ("best", "objective"):
            del values[name]
        for winner in [values["dense"], *values["winners"]]:
            del winner["bytes"]

    change(folder / "answer.json", older)
    assert "The sparsest ticket that matches the best trained dense network has sparsity" in page_of(folder).text


def test_a_search_under_way_has_a_page_without_test_metrics(folder: Path) -> None:
    for name in ("answer.json", "results.parquet", "best.toml", "front.png"):
        (folder / name).unlink()
    trials = json.loads((folder / "manifest.json").read_text())["trials"]
    key = next(key for key, trial in trials.items() if trial["label"].startswith("sparsity 0.9"))
    shutil.rmtree(folder / "runs" / key)
    change(folder / "manifest.json", lambda values: values["trials"][key].update(state="failed", message="<b>lost</b>"))
    page = page_of(folder)
    assert page.problems() == 0
    assert "This search has no answer yet" in page.text
    assert "ugts tune --resume small" in page.text
    (table,) = [table for table in page.tables if table[0][0] == "run"]
    assert "test" not in table[0]
    rows = [dict(zip(table[0], row, strict=True)) for row in table[1:]]
    (failed,) = [row for row in rows if row["folder in runs"] == key]
    assert (failed["state"], failed["message"], failed["valid"]) == ("▼ failed", "<b>lost</b>", "-")
    assert "Finished trials, one seed each" in page.text
    for row in rows:
        if row is not failed:
            result = json.loads((folder / "runs" / row["folder in runs"] / "result.json").read_text())
            assert float(row["valid"]) == pytest.approx(result["valid"], abs=5e-5)


def test_an_answer_that_further_trials_may_change_says_so(folder: Path) -> None:
    def wait(values: dict[str, Any]) -> None:
        values["trials"]["0" * 16] = {"label": "sparsity 0.7", "seed": 0, "state": "waiting"}

    change(folder / "manifest.json", wait)
    (folder / "results.parquet").unlink()
    assert "1 trials are not over" in page_of(folder).text


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("answer.json", "{", "answer.json: damaged"),
        ("answer.json", "{}", "answer.json: damaged (KeyError: 'winners')"),
        ("answer.json", '{"winners": [], "best": 3}', "best is 3, and it has 0 winners"),
        ("results.parquet", "PAR1", "results.parquet: damaged"),
        ("manifest.json", "[]", "manifest.json: damaged (it is no object)"),
        ("space.toml", "[search", "space.toml: damaged"),
        ("front.png", "no PNG", "front.png: not a PNG"),
    ],
)
def test_a_damaged_file_is_a_problem_on_the_page(folder: Path, name: str, text: str, told: str) -> None:
    (folder / name).write_text(text)
    page = page_of(folder)
    assert page.problems() == 1
    assert told in page.text


def test_keys_lead_nowhere_else(folder: Path) -> None:
    (folder / "results.parquet").unlink()
    trial = {"label": "elsewhere", "seed": 0, "state": "finished"}
    change(folder / "manifest.json", lambda values: values["trials"].update({"../../elsewhere": trial}))
    assert "elsewhere" not in page_of(folder).text


def test_a_folder_without_anything_usable_is_refused(folder: Path) -> None:
    for name in ("answer.json", "results.parquet", "manifest.json", "space.toml"):
        (folder / name).write_text("?")
    with pytest.raises(InputError, match=r"space\.toml: damaged") as refused:
        page_of(folder)
    assert "\n" not in str(refused.value)
