"""`ugts report` of several runs: what it says is what their files have, and what can't be compared is kept apart."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from tests.report.parsed import Parsed, check_self_contained
from ugts_dist.checkpointing.result_file import write_result
from ugts_dist.cli import main
from ugts_dist.config import Config
from ugts_dist.graphs.checksum import DataChecksum
from ugts_dist.report.comparison import Compared, comparison_page
from ugts_dist.report.files import Folder
from ugts_dist.report.html import render
from ugts_dist.report.page import Figure, Table
from ugts_dist.report.run_files import Network, RunFiles, Sizes
from ugts_dist.report.show import show
from ugts_dist.tensor_file import write_tensor_file

RESULT = {
    "epoch": 1,
    "valid": 0.75,
    "test": 0.7,
    "sparsity": 0.9,
    "test_any": 0.7,
    "test_last": 0.6,
    "seconds": 12.34,
    "path": "best.ticket",
    "bytes": 1399,
    "metric": "accuracy",
}
HEADINGS = ("run", "graph", "arch", "method", "sparsity", "valid", "test", "bytes", "seconds", "epochs")

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes the folder of a run of 40 epochs with two measured ones; finished if it has a result."""
    monkeypatch.chdir(tmp_path)

    def written(name: str, result: Mapping[str, Any] | None = None, **changes: Any) -> Path:
        folder = Path(name)
        folder.mkdir(parents=True)
        fields = {key.replace("__", "."): value for key, value in changes.items()}
        (folder / "config.toml").write_text(Config().replace({"run.epochs": 40, **fields}).to_toml())
        lines = ({"epoch": epoch, "valid": 0.25 + epoch / 40} for epoch in (0, 10))
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        if result is not None:
            write_result(folder, {**RESULT, **result})
        return folder

    return written


def page_of(*folders: Path) -> Parsed:
    parsed = Parsed(render(comparison_page(folders), folders[0]))
    check_self_contained(parsed)
    return parsed


def test_the_table_has_what_the_results_have(write: Write) -> None:
    first = write("runs/a", {}, model__arch="sage")
    second = write("runs/b", {"valid": 0.8, "bytes": 1_000_000, "seconds": 2000.0}, supermask__method="edge-popup")
    page = page_of(first, second)
    assert page.table(*HEADINGS) == [
        ["a", "digits", "sage", "ugts", "0.9000", "0.7500", "0.7000", "1,399", "12.3", "11"],
        ["b", "digits", "gcn", "edge-popup", "0.9000", "★ 0.8000", "0.7000", "1,000,000", "2,000.0", "11"],
    ]
    assert page.table("run", "model.arch", "supermask.method") == [["a", "sage", "ugts"], ["b", "gcn", "edge-popup"]]
    assert len(page.images()) == 1
    assert "digits: accuracy" in page.text


def test_many_settings_of_few_runs_go_down_the_page(write: Write) -> None:
    write("runs/a", {})
    write("runs/b", {}, model__width=32, run__seed=3, optim__lr=1e-7, run__folder="x", log__progress=False)
    page = page_of(Path("runs/a"), Path("runs/b"))
    assert page.table("field", "a", "b") == [
        ["model.width", "256", "32"],
        ["optim.lr", "0.01", "1e-07"],
        ["run.seed", "0", "3"],
    ]


def test_runs_of_equal_settings(write: Write) -> None:
    assert "None: the runs have the same settings." in page_of(write("runs/a", {}), write("runs/b", {})).text


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_arguments_that_only_some_networks_have(write: Write, order: str) -> None:
    own = {"model.factory": "nets.py:build", "model.args": {"width": 8}}
    write("runs/a", {}, **own)
    write("runs/b", {}, **{**own, "model.args": {"width": 8, "norm": "batch"}})
    settings = {"a": ["a", "-"], "b": ["b", "batch"]}
    page = page_of(*(Path("runs", name) for name in order))
    assert page.table("run", "model.args.norm") == [settings[name] for name in order]
    assert [row[2] for row in page.table(*HEADINGS)] == ["nets-build", "nets-build"]


def test_a_run_that_is_not_finished_is_there_and_named(write: Write) -> None:
    page = page_of(write("runs/a", {}), write("runs/half"))
    rows = page.table(*HEADINGS)
    assert rows[1] == ["half", "digits", "gcn", "ugts", "-", "-", "-", "-", "-", "11/40"]
    assert rows[0][5] == "★ 0.7500"
    assert "Not finished, with the figures so far: half." in page.text


def test_of_an_error_the_lowest_is_the_best(write: Write) -> None:
    task = {"task__kind": "regression"}
    rows = page_of(
        write("runs/a", {"metric": "RMSE", "valid": 0.2}, **task), write("runs/b", {"metric": "RMSE"}, **task)
    ).table(*HEADINGS)
    assert [row[5] for row in rows] == ["★ 0.2000", "0.7500"]


def half_done(folder: Path, valid: float) -> Path:
    """The folder of a regression that is under way: a saved network, no result."""
    provenance = {"labels": {"kind": "regression", "mean": [0.0], "deviation": [1.0]}}
    header = {"config": Config().portable(), "metrics": {"epoch": 1, "valid": valid}, "provenance": provenance}
    write_tensor_file(folder / "best.safetensors", {"convs.0.lin.weight": torch.zeros(2, 3)}, header, "dense")
    return folder


def test_of_regressions_under_way_the_lowest_error_is_the_best(write: Write) -> None:
    page = page_of(half_done(write("runs/a"), 0.2), half_done(write("runs/b"), 0.75))
    assert [row[5] for row in page.table(*HEADINGS)] == ["★ 0.2000", "0.7500"]
    assert "digits: RMSE" in page.text


def test_a_regression_under_way_is_not_compared_with_accuracies(write: Write) -> None:
    page = comparison_page([write("runs/a", {}), half_done(write("runs/b"), 0.75)])
    assert [section.title for section in page.sections[:-2]] == ["digits: accuracy", "digits: RMSE"]


def test_a_metric_that_is_chosen_is_known_without_a_network(write: Write) -> None:
    page = comparison_page([write("runs/a", task__kind="regression"), write("runs/b", task__metric="mae")])
    assert [section.title for section in page.sections[:-2]] == ["digits: RMSE", "digits: MAE"]


@pytest.mark.parametrize(("metric", "sign"), [("accuracy", 1), ("RMSE", -1)])
def test_runs_without_a_figure_are_drawn_last(write: Write, metric: str, sign: int) -> None:
    folders = [write(f"runs/{k:02}", {"metric": metric, "valid": 0.5 + sign * k / 100}) for k in range(20)]
    folders = [write("runs/begun", task__kind="regression" if metric == "RMSE" else "auto"), *folders]
    (figure,) = [block for block in comparison_page(folders).sections[0].blocks if isinstance(block, Figure)]
    everything = comparison_page(folders[1:])
    (without,) = [block for block in everything.sections[0].blocks if isinstance(block, Figure)]
    assert figure.png == without.png


def test_what_can_not_be_compared_is_in_groups(write: Write) -> None:
    write("runs/a", {"valid": 0.5})
    write("runs/b", {}, data__split=3)
    write("runs/c", {"metric": "micro F1"}, task__metric="f1-micro")
    write("runs/d", {}, data__name="cora")
    write("runs/e")  # its metric is not known, so that it is with the first of its data
    write("runs/f", {"valid": 0.25})
    page = comparison_page(sorted(Path("runs").iterdir()))
    tables = {
        section.title: [row[0] for block in section.blocks if isinstance(block, Table) for row in block.rows]
        for section in page.sections[:-2]
    }
    assert tables == {
        "digits: accuracy": ["a", "e", "f"],
        "digits, data.split 3: accuracy": ["b"],
        "digits: micro F1": ["c"],
        "cora: accuracy": ["d"],
    }
    assert "The runs are in 4 groups, as figures of other data or metrics can't be compared." in page.intro
    parsed = page_of(*sorted(Path("runs").iterdir()))
    assert sum("★" in cell for table in parsed.tables for row in table for cell in row) == 4


@pytest.mark.parametrize(
    ("parts", "fits"),
    [
        ({}, True),
        ({"labels": "1", "split": "2", "features": "3"}, True),
        ({"labels": "1", "split": "2", "features": "4"}, True),
        ({"labels": "5", "split": "2", "features": "3"}, False),
        ({"labels": "1", "split": "5", "features": "3"}, False),
        ({"labels": "1", "split": "2", "edges": "6"}, True),
    ],
)
def test_other_labels_under_the_same_name_can_not_be_compared(parts: dict[str, str], fits: bool) -> None:
    def compared(parts: dict[str, str]) -> Compared:
        data = DataChecksum("digits", "0" * 64, 10, {part: digit * 8 for part, digit in parts.items()})
        network = Network(
            "best.ticket", [], Sizes(0, 0, 0, 0.0, 0), {}, {}, {"data": data.to_dict()}, {}, "classification"
        )
        return Compared("a", RunFiles(Folder(Path()), Config(), [], None, network), Config())

    assert compared(parts).fits(compared({"labels": "1", "split": "2", "features": "3"})) == fits


def test_names_are_as_long_as_needed(write: Write) -> None:
    rows = page_of(write("x/runs/a", {}), write("y/runs/a", {}), write("y/runs/b", {})).table(*HEADINGS)
    assert [row[0] for row in rows] == ["x/runs/a", "y/runs/a", "y/runs/b"]


def test_of_very_many_runs_the_best_are_drawn(write: Write) -> None:
    folders = [write(f"runs/{k}", {"valid": k / 100}) for k in range(23)]
    (figure,) = [block for block in comparison_page(folders).sections[0].blocks if isinstance(block, Figure)]
    assert figure.caption == "Validation accuracy over epochs, of the best 20 of 23 runs"
    assert len(page_of(*folders).table(*HEADINGS)) == 23


@pytest.mark.parametrize("name", ["_hidden", "$x^2$", "a&b<c>"])
def test_any_name_can_be_drawn(write: Write, name: str) -> None:
    assert len(page_of(write(f"runs/{name}", {}), write("runs/b", {})).images()) == 1


def test_the_command_prints_the_tables_and_writes_the_page(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write("runs/a", {})
    write("runs/b", {"valid": 0.8}, model__width=32)
    main(["report", "runs/a", "runs/b"])
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == "comparison.html"
    lines = [line.split() for line in printed.splitlines()]
    assert list(HEADINGS) in lines
    assert ["b", "digits", "gcn", "ugts", "0.9000", "★", "0.8000", "0.7000", "1,399", "12.3", "11"] in lines
    assert ["b", "32"] in lines
    first = Path("comparison.html").read_bytes()
    main(["report", "runs/a/", "runs/b", "runs/a"])
    assert Path("comparison.html").read_bytes() == first
    main(["report", "runs/a", "runs/b", "--out", "mine.html"])
    assert Path("mine.html").read_bytes() == first
    assert not list(Path("runs").rglob("*.html"))


def test_one_folder_twice_is_one_run(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write("runs/a", {})
    main(["report", "runs/a", "runs/a/"])
    assert capsys.readouterr().out == "runs/a/report.html\n"
    assert not Path("comparison.html").exists()


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda: Path("runs/b").mkdir(), "runs/b: not the folder of a run, it has no config.toml; only runs are"),
        (lambda: None, "runs/b: not the folder of a run"),
        (lambda: Path(shutil.copytree("runs/a", "runs/b"), "config.toml").write_text("["), "runs/b/config.toml: "),
        (
            lambda: (shutil.copytree("runs/a", "runs/b"), Path("comparison.html").write_text("mine")),
            "comparison.html: exists and is no report",
        ),
    ],
)
def test_a_mistake_is_told_and_nothing_written(
    write: Write, prepare: Callable[[], object], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write("runs/a", {})
    prepare()
    before = sorted(Path().rglob("*"))
    with pytest.raises(SystemExit) as stop:
        main(["report", "runs/a", "runs/b"])
    shown = capsys.readouterr()
    assert (stop.value.code, shown.out) == (2, "")
    assert shown.err.startswith(f"ugts: {message}")
    assert shown.err.count("\n") == 1
    assert sorted(Path().rglob("*")) == before


def test_a_narrow_terminal_cuts_no_digit(write: Write) -> None:
    folders = [write("runs/a-run-with-a-rather-long-name", {"bytes": 1_234_567}), write("runs/b", {}, model__width=32)]
    printed = io.StringIO()
    show(comparison_page(folders), Console(file=printed, width=80))
    text = printed.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    for word in ("1,234,567", "★ 0.7500", "sparsity", "seconds"):
        assert word in text
