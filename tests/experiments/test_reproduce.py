"""Reproductions: what is run, what is reused, and that the page has the runs' figures."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.experiments.test_study import PUBLISHED, VALUES
from ugts_dist.analysis.ood import roc_auc_of
from ugts_dist.analysis.trace import trace_training
from ugts_dist.arguments import parse
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.experiments import grid, reproduce
from ugts_dist.experiments.grid import Task, failure, finished, run_grid, run_key
from ugts_dist.experiments.options import ReproduceOptions
from ugts_dist.experiments.study import Study, study_of

pytestmark = pytest.mark.xdist_group("reproduction")

FAST = {"batch.size": 0, "batch.fan_out": [], "run.epochs": 4, "model.width": 16}


def small_study(**changes: Any) -> Study:
    return study_of("table5", {**VALUES, "fields": FAST, "seeds": 2, **changes}, PUBLISHED)


def one_by_one(task: Task, configs: Collection[Config], store: Path, workers: int) -> Iterator[str]:
    """In this process, which has everything imported; other tests start processes."""
    return (task(config, store) for config in configs)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reproduce, "load_study", lambda name, seeds: small_study())
    monkeypatch.setattr(grid, "_on_processes", one_by_one)


def options(folder: Path, **changes: Any) -> ReproduceOptions:
    return ReproduceOptions(**{"targets": ("table5",), "folder": str(folder), "workers": 1, **changes})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole small study, reproduced once for all tests here."""
    folder = tmp_path_factory.mktemp("reproductions") / "made"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reproduce, "load_study", lambda name, seeds: small_study())
        patch.setattr(grid, "_on_processes", one_by_one)
        assert reproduce.reproduce(options(folder)) == folder / "index.html"
    return folder


def written(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_the_page_tells_the_means_of_the_runs(made: Path) -> None:
    page = made / "index.html"
    cells = {
        (cell["panel"], cell["row"], cell["column"]): cell
        for cell in json.loads((made / "table5.json").read_text())["cells"]
    }
    text = (made / "README.md").read_text()
    for cell in small_study().panels[0].cells:
        results = [finished(config, made / "runs") for config in cell.configs]
        values = [100 * result["test"] for result in results if result]
        assert len(values) == 2
        told = cells[cell.panel, cell.row, cell.column]
        assert told["values"] == pytest.approx(values, abs=1e-4)
        mean = statistics.mean(values)
        assert cell.published is not None
        shown = f"{mean:.1f} ± {statistics.stdev(values):.1f} ({mean - cell.published:+.1f})"
        assert shown in text
        assert shown in page.read_text()
    assert "not run" not in text
    assert [text.count(note) for note in ("2 seeds a cell.", "1 seed a cell.")] == [1, 1]


def test_a_study_of_validation_figures_tells_those(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    valid = small_study(measure="valid", seeds=1).only("Digits / UGTs / 0.5")
    monkeypatch.setattr(reproduce, "load_study", lambda name, seeds: valid)
    reproduce.reproduce(options(tmp_path))
    (cell,) = json.loads((tmp_path / "table5.json").read_text())["cells"]
    result = finished(valid.cells[0].configs[0], tmp_path / "runs")
    assert result is not None
    assert result["valid"] != result["test"]
    assert cell["values"] == pytest.approx([100 * result["valid"]], abs=1e-4)


def test_a_cell_with_another_number_of_seeds_than_its_table_tells_it(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(made / "runs", tmp_path / "runs")  # all runs of this study
    ugts, dense = VALUES["rows"]
    rows = [{**ugts, "seeds": {"0.5": 1}}, {**ugts, "label": "other", "seeds": 2}, dense]
    monkeypatch.setattr(
        reproduce, "load_study", lambda name, seeds: small_study(rows=rows, panels=VALUES["panels"][:1])
    )
    reproduce.reproduce(options(tmp_path))
    text = (tmp_path / "README.md").read_text()
    first = json.loads((tmp_path / "table5.json").read_text())["cells"][0]
    (value,) = first["values"]
    assert f"{value:.1f}, 1 seed ({value - first['published']:+.1f})" in text.replace("\\", "")
    assert text.count("1 seed") == 1
    assert text.count("2 seeds") == 1
    assert "2 seeds a cell, unless it says another number." in text


def test_finished_runs_are_not_repeated_and_the_page_stays_the_same(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = shutil.copytree(made, tmp_path / "again")
    monkeypatch.setattr(grid, "_on_processes", lambda *args: pytest.fail("runs were repeated"))
    reproduce.reproduce(options(again))
    assert written(again) == written(made)


def test_what_was_not_run_is_named(tmp_path: Path) -> None:
    reproduce.reproduce(options(tmp_path, only=("digits / ugts / 0.5",)))
    reproduce.reproduce(options(tmp_path, draw=True))
    cells = json.loads((tmp_path / "table5.json").read_text())["cells"]
    assert [len(list(filter(None, cell["values"]))) for cell in cells] == [2, 0, 0, 0, 0]
    assert (tmp_path / "README.md").read_text().count("not run") == 5  # the flat row has two columns


def test_a_filter_can_be_given_several_times_and_takes_no_name_with_it() -> None:
    args = ["--only", "cora / ugts", "--only", "dense", "table1", "table6"]
    assert parse(ReproduceOptions, args, "reproduce") == ReproduceOptions(
        ("table1", "table6"), only=("cora / ugts", "dense")
    )


def test_nothing_is_run_or_written_to_list_the_cells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reproduce.reproduce(options(tmp_path / "new", list=True))
    assert "Digits / UGTs / 0.5" in capsys.readouterr().out
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": ()}, "NAME is missing, allowed are table1, "),
        ({"only": ("xyz",)}, "--only 'xyz': no cell of table5 has it in its label"),
        ({"only": ("digits", "xyz")}, "--only 'xyz': no cell of table5 has it in its label"),
    ],
)
def test_a_mistake_is_told_before_anything_is_run(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        reproduce.reproduce(options(tmp_path / "new", **changes))
    assert str(error.value).startswith(message)
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="only where there is no GPU")
def test_a_gpu_that_is_not_there_is_told_before_anything_is_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="device is cuda, but torch"):
        reproduce.reproduce(options(tmp_path / "new", device="cuda"))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("measure", ["test", "mad"])
def test_runs_are_placed_as_the_command_says(measure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    placed: list[Config] = []
    monkeypatch.setattr(reproduce, "for_each", lambda task, configs, *rest: placed.extend(configs))
    monkeypatch.setattr(reproduce, "load_study", lambda name, seeds: small_study(measure=measure, seeds=1))
    reproduce.reproduce(options(tmp_path, device="cpu"))
    assert placed
    assert {config.run.device for config in placed} == {"cpu"}


def test_missing_data_are_named_and_optional_panels_left_out(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("UGTS_DATA", str(tmp_path / "empty"))
    missing = {**VALUES["panels"][1], "fields": {"data.name": "pubmed"}}
    monkeypatch.setattr(reproduce, "load_study", lambda name, seeds: small_study(panels=[VALUES["panels"][0], missing]))
    with pytest.raises(InputError, match="table5: UGTS_DATA: pubmed needs") as error:
        reproduce.reproduce(options(tmp_path / "new"))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "new").exists()
    optional = {**missing, "optional": True}
    monkeypatch.setattr(
        reproduce, "load_study", lambda name, seeds: small_study(panels=[VALUES["panels"][0], optional])
    )
    shutil.copytree(made / "runs", tmp_path / "new" / "runs")
    reproduce.reproduce(options(tmp_path / "new"))
    assert "Narrow" not in (tmp_path / "new" / "README.md").read_text()
    monkeypatch.setattr(reproduce, "load_study", lambda name, seeds: small_study(panels=[optional]))
    with pytest.raises(InputError, match="pubmed needs"):
        reproduce.reproduce(options(tmp_path / "other"))
    assert "left out: pubmed" in capsys.readouterr().err


def test_a_run_without_a_finite_loss_is_noted_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = (cell.configs[0] for cell in small_study().panels[0].cells[:2])
    bad = bad.replace({"optim.lr": 1e30, "supermask.method": "dense", "optim.weight_decay": 1.0})
    assert len(run_grid([bad, good], tmp_path, workers=1)) == 1
    assert "not finite in epoch 0: try a smaller optim.lr" in failure(bad, tmp_path)
    monkeypatch.setattr(grid, "_on_processes", lambda *args: pytest.fail("a failed run was tried again"))
    assert len(run_grid([bad, good], tmp_path, workers=1)) == 1


OOD = {"data.left_out": 0.3, **FAST}


def test_unknown_classes_are_told_from_the_saved_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = small_study(measure="ood", fields=OOD, panels=VALUES["panels"][:1], seeds=1)
    monkeypatch.setattr(reproduce, "load_study", lambda name, seeds: study)
    reproduce.reproduce(options(tmp_path))
    cells = json.loads((tmp_path / "table5.json").read_text())["cells"]
    for cell, told in zip(study.cells, cells, strict=True):
        result = finished(cell.configs[0], tmp_path / "runs")
        assert result is not None
        assert told["mean"] == pytest.approx(100 * roc_auc_of(Path(result["path"]), Ranks()), abs=1e-4)


@pytest.mark.parametrize("measure", ["mad", "gradients"])
def test_trainings_are_observed_once(
    measure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{**row, "flat": True} for row in VALUES["rows"]]
    study = small_study(measure=measure, panels=VALUES["panels"][:1], rows=rows, columns={}, seeds=1)
    monkeypatch.setattr(reproduce, "load_study", lambda name, seeds: study)
    reproduce.reproduce(options(tmp_path, only=("ugts",)))
    assert "Not run" not in (tmp_path / "README.md").read_text()
    reproduce.reproduce(options(tmp_path, draw=True))
    assert "Not run: Digits / dense." in (tmp_path / "README.md").read_text()
    grid.find_or_run(study.cells[0].configs[0], tmp_path / "runs")  # the same run, for another study
    capsys.readouterr()
    reproduce.reproduce(options(tmp_path, list=True))
    listed = [line.split("│")[2:5] for line in capsys.readouterr().out.splitlines() if "Digits" in line]
    assert [[part.strip() for part in line] for line in listed] == [
        ["Digits / UGTs", "1", "1"],
        ["Digits / dense", "0", "1"],
    ]
    (told,) = json.loads((tmp_path / "table5.json").read_text())["cells"]
    expected = trace_training(study.cells[0].configs[0], every=1)
    key = run_key(study.cells[0].configs[0])
    assert told == {"cell": "Digits / UGTs", "run": key, **expected.to_dict()}
    assert (tmp_path / "figure-1.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr(grid, "_on_processes", lambda *args: pytest.fail("it was observed again"))
    reproduce.reproduce(options(tmp_path, only=("ugts",)))
    shutil.rmtree(tmp_path / "runs")
    reproduce.reproduce(options(tmp_path / "again", only=("ugts",), known=str(tmp_path)))
    assert written(tmp_path / "again") == written(tmp_path)


def test_figures_that_are_known_are_not_made_again(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reproduce.reproduce(options(tmp_path / "first", only=("ugts / 0.5",)))
    reproduce.reproduce(options(tmp_path / "first", draw=True))  # the other cells are on the page, without figures
    shutil.rmtree(tmp_path / "first" / "runs")
    earlier = written(tmp_path / "first")
    asked: list[str] = []

    def noted(task: Task, configs: Collection[Config], store: Path, workers: int) -> Iterator[str]:
        for key in map(run_key, configs):
            asked.append(key)
            shutil.copytree(made / "runs" / key, store / key)
            yield key

    monkeypatch.setattr(grid, "_on_processes", noted)
    reproduce.reproduce(options(tmp_path / "second", known=str(tmp_path / "first")))
    known = {run_key(config) for cell in small_study().only("ugts / 0.5").cells for config in cell.configs}
    wanted = {run_key(config) for cell in small_study().cells for config in cell.configs}
    assert set(asked) == wanted - known
    assert written(tmp_path / "first") == earlier
    assert written(tmp_path / "second") == written(made)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "holds no figures, allowed is a folder that `ugts reproduce` has written"),
        ("{", "table5.json: "),
        ('{"study": "table5"}', "table5.json: KeyError('measure'), allowed is a study as "),
        ('{"study": "table5", "measure": "test", "cells": [{"runs": ["a"], "values": []}]}', "table5.json: "),
    ],
)
def test_a_folder_without_known_figures_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    (tmp_path / "page.json").write_text('{"title": "a page of something else"}')
    if content is not None:
        (tmp_path / "table5.json").write_text(content)
    with pytest.raises(InputError) as error:
        reproduce.reproduce(options(tmp_path / "new", known=str(tmp_path)))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "new").exists()


def test_what_is_known_is_not_written_over(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="allowed is another folder than --folder"):
        reproduce.reproduce(options(tmp_path, known=str(tmp_path)))


def test_a_reproduction_that_was_killed_gives_the_same_page(made: Path, tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.experiments.test_reproduce import options, small_study\n"
        "from ugts_dist.experiments import reproduce\n"
        "if __name__ == '__main__':\n"
        "    reproduce.load_study = lambda name, seeds: small_study()\n"
        "    reproduce.reproduce(options(Path(sys.argv[1])))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(tmp_path / "killed")]
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    deadline = time.monotonic() + 300
    while len(list((tmp_path / "killed").glob("runs/*/result.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)  # only the main process: its workers have to end by themselves
    process.wait()
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)
            time.sleep(0.02)
        pytest.fail("a worker goes on without the process that started it")
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed").glob("runs/*/result.json")}
    assert 2 <= len(done) < len([config for cell in small_study().cells for config in cell.configs])
    reproduce.reproduce(options(tmp_path / "killed"))
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert written(tmp_path / "killed") == written(made)
