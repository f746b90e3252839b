"""`ugts runs` lists what the runs' files have, in the requested order, and survives damage."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.report.test_comparison import half_done
from ugts_dist.checkpointing.result_file import write_result
from ugts_dist.cli import main
from ugts_dist.config import Config
from ugts_dist.report.options import RunsOptions
from ugts_dist.report.run_list import COLUMNS, run_list

RESULT = {
    "epoch": 30,
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

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write the folder of a run: with a result if it is finished, otherwise with lines of metrics."""
    monkeypatch.chdir(tmp_path)

    def written(
        name: str,
        result: Mapping[str, Any] | None = None,
        metrics: str = "",
        changes: Mapping[str, Any] | None = None,
    ) -> Path:
        folder = Path(name)
        folder.mkdir(parents=True)
        (folder / "config.toml").write_text(Config().replace({"run.epochs": 40, **(changes or {})}).to_toml())
        if result is not None:
            write_result(folder, {**RESULT, **result})
        if metrics:
            (folder / "metrics.jsonl").write_text(metrics)
        return folder

    return written


def listed(*args: str, **options: Any) -> list[dict[str, Any]]:
    """The runs as JSON."""
    rows: list[dict[str, Any]] = json.loads(run_list(RunsOptions(args or ("runs",), json=True, **options)))
    return rows


def names(**options: Any) -> list[str]:
    return [Path(row["folder"]).name for row in listed(**options)]


def test_a_run_of_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    main(["train", "--preset", "digits", "--run.epochs", "3", "--run.folder", "runs/mine", "--log.to"])
    result = json.loads(Path("runs/mine/result.json").read_text())
    (row,) = listed()
    same = ("valid", "test", "sparsity", "bytes", "seconds", "metric")
    assert {name: row[name] for name in same} == {name: result[name] for name in same}
    assert row["bytes"] == Path("runs/mine/best.ticket").stat().st_size
    assert (row["folder"], row["state"], row["epochs"]) == ("runs/mine", "finished", 3)
    assert (row["data"], row["arch"], row["method"]) == ("digits", "gcn", "ugts")


def test_the_table(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write("runs/b", {}, changes={"data.name": "/elsewhere/stores/mygraph", "model.arch": "sage"})
    write("runs/a", metrics='{"epoch": 0, "valid": 0.1}\n{"epoch": 9, "valid": 0.5, "test": 0.25, "sparsity": 0.45}\n')
    write("runs/c", changes={"supermask.method": "dense"})
    main(["runs"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [
        list(COLUMNS),
        ["runs/a", "digits", "gcn", "ugts", "0.4500", "0.5000", "0.2500", "-", "10/40", "-"],
        ["runs/b", "mygraph", "sage", "ugts", "0.9000", "0.7500", "0.7000", "1,399", "40", "12.3"],
        ["runs/c", "digits", "gcn", "dense", "-", "-", "-", "-", "0/40", "-"],
    ]
    assert len({len(line) for line in lines}) == 1  # the last column is aligned to the right


def test_runs_at_any_depth_once(write: Write) -> None:
    for name in ("runs/a", "searches/mine/runs/k1", "searches/mine/runs/k2", "searches/mine/runs/.unfinished-x/run"):
        write(name, {})
    write("runs/a/checkpoints/step-1", {})  # within a run
    assert [row["folder"] for row in listed("searches")] == ["searches/mine/runs/k1", "searches/mine/runs/k2"]
    assert len(listed("searches/mine/runs/k1")) == 1
    assert len(listed("searches", "searches/mine", ".", "runs/a")) == 3


@pytest.mark.parametrize(
    ("column", "order"),
    [
        ("folder", "abcd"),
        ("valid", "bacd"),
        ("test", "abcd"),
        ("sparsity", "cabd"),
        ("bytes", "cbad"),
        ("seconds", "bcad"),
        ("epochs", "dabc"),
        ("method", "bacd"),
        ("arch", "cdab"),
    ],
)
def test_order(write: Write, column: str, order: str) -> None:
    """The best metric and the highest sparsity first, otherwise the lowest value; unknown values last."""
    write("runs/d", metrics='{"epoch": 9, "loss": 1.0}\n', changes={"model.arch": "gat"})
    write(
        "runs/c",
        {"valid": 0.2, "test": 0.1, "sparsity": 0.99, "bytes": 5, "seconds": 3.0},
        changes={"model.arch": "gat"},
    )
    write(
        "runs/b",
        {"valid": 0.9, "test": 0.2, "sparsity": 0.5, "bytes": 50, "seconds": 2.0},
        changes={"supermask.method": "edge-popup"},
    )
    write("runs/a", {"valid": 0.8, "test": 0.3, "sparsity": 0.9, "bytes": 500, "seconds": 30.0})
    assert "".join(names(sort=column)) == order


def test_of_errors_the_lowest_is_first_also_before_the_end(write: Write) -> None:
    """The saved network knows that it predicts targets; the configuration leaves that to the labels."""
    for name, valid in (("a", 0.8), ("b", 0.2)):
        half_done(write(f"runs/{name}", metrics=f'{{"epoch": 4, "valid": {valid}}}\n'), valid)
    write("runs/c", metrics='{"epoch": 4, "valid": 0.1}\n', changes={"task.metric": "mae"})
    write("runs/d", metrics='{"epoch": 4, "loss": 0.1}\n')
    assert "".join(names(sort="valid")) == "cbad"
    assert [row["metric"] for row in listed()] == ["RMSE", "RMSE", "MAE", None]


def test_a_line_that_is_being_written_is_not_read(write: Write) -> None:
    write("runs/a", metrics='{"epoch": 4, "valid": 0.5}\n{"epoch": 5, "val')
    (row,) = listed()
    assert (row["state"], row["epochs"], row["epochs_configured"], row["valid"]) == ("unfinished", 5, 40, 0.5)


def test_a_run_that_ended_early_has_the_epochs_that_it_measured(write: Write) -> None:
    write("runs/a", {"epoch": 3}, metrics='{"epoch": 7, "valid": 0.5}\n')
    (row,) = listed()
    assert (row["state"], row["epochs"], row["epochs_configured"]) == ("finished", 8, 40)


def test_damage_is_told_in_a_line_each(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write("runs/a", {})
    (write("runs/b", {}) / "result.json").write_text('{"epoch": 3}')
    write("runs/c", metrics="]\n")
    (write("runs/d") / "config.toml").write_text("[model]\nwidht = 3\n")
    rows = listed()
    assert [row["state"] for row in rows] == ["finished", "damaged", "damaged"]
    told = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1].strip() for line in told] == [
        "runs/b/result.json",
        "runs/c/metrics.jsonl",
        "runs/d/config.toml",
    ]
    assert told[2].endswith("this folder is left out")


@pytest.mark.parametrize("value", [None, "high", True, float("nan"), [0.5]])
def test_a_value_of_a_wrong_kind_is_unknown(write: Write, value: object) -> None:
    write("runs/a", {"test": value})
    (row,) = listed()
    assert (row["test"], row["valid"]) == (None, 0.75)


def test_names_are_shown_escaped(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write("runs/a\nb\x1b[31m", {})
    main(["runs"])
    assert capsys.readouterr().out.splitlines()[1].startswith(r"runs/a\nb\x1b[31m  digits")


@pytest.fixture
def search(write: Write) -> Callable[..., Path]:
    """Writes the folder of a search: its manifest, and a result for each trial that has a validation metric."""

    def written(name: str, trials: Mapping[str, tuple[str, str, float | None]], answer: bool = False) -> Path:
        folder = Path(name)
        for key, (_, _, valid) in trials.items():
            write(f"{name}/runs/{key}", None if valid is None else {"valid": valid})
        entries = {key: {"label": label, "seed": 0, "state": state} for key, (label, state, _) in trials.items()}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "space.toml").write_text("")
        (folder / "manifest.json").write_text(json.dumps({"space": "x", "trials": entries}))
        if answer:
            (folder / "answer.json").write_text('{"metric": "accuracy"}')
        return folder

    return written


TRIALS = {
    "k1": ("sparsity 0.9", "finished", 0.75),
    "k2": ("sparsity 0.5", "finished", 0.8),
    "k3": ("dense, lr 0.01", "finished", 0.9),
    "k4": ("sparsity 0.8", "stopped", None),
    "k5": ("sparsity 0.7", "failed", None),
    "k6": ("sparsity 0.6", "running", None),
}


def test_searches_are_listed_after_the_runs(
    write: Write, search: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write("runs/a", {})
    search("searches/deep", TRIALS)
    search("searches/small", {"k1": TRIALS["k1"]}, answer=True)
    main(["runs"])
    runs, searches = capsys.readouterr().out.split("\n\n")
    assert [line.split()[0] for line in runs.splitlines()] == ["folder", "runs/a"]
    assert [line.split() for line in searches.splitlines()] == [
        ["search", "state", "trials", "failed", "valid", "dense", "valid"],
        ["searches/deep", "unfinished", "5/6", "1", "0.8000", "0.9000"],
        ["searches/small", "finished", "1/1", "0", "0.7500", "-"],
    ]


def test_searches_as_json(write: Write, search: Callable[..., Path]) -> None:
    write("runs/a", {})
    search("searches/small", {"k1": TRIALS["k1"], "k3": TRIALS["k3"]}, answer=True)
    run, searches = listed("runs", "searches")
    assert (run["kind"], run["folder"]) == ("run", "runs/a")
    assert searches == {
        "kind": "search",
        "folder": "searches/small",
        "state": "finished",
        "metric": "accuracy",
        "trials": 2,
        "trials_done": 2,
        "trials_failed": 0,
        "valid": 0.75,
        "dense_valid": 0.9,
    }


def test_trials_of_a_search_are_listed_where_it_is_named(search: Callable[..., Path]) -> None:
    search("searches/small", TRIALS)
    for args, runs in ((("searches",), 0), (("searches/small",), 6), (("searches/small/runs",), 6), ((".",), 0)):
        kinds = [row["kind"] for row in listed(*args)]
        assert kinds.count("run") == runs
        assert kinds.count("search") == (not args[0].endswith("runs"))


def test_searches_are_sorted_by_what_they_have(search: Callable[..., Path]) -> None:
    search("searches/a", {"k": ("", "finished", 0.5)})
    search("searches/b", {"k": ("", "finished", 0.75)})
    search("searches/c", {"k": ("", "running", None)})
    for column, order in (("valid", "bac"), ("folder", "abc"), ("seconds", "abc")):
        assert "".join(Path(row["folder"]).name for row in listed("searches", sort=column)) == order


def test_a_search_under_way_has_the_metric_of_its_manifest(search: Callable[..., Path]) -> None:
    for name, valid in (("a", 0.8), ("b", 0.2)):
        folder = search(f"searches/{name}", {"k": ("", "finished", valid)})
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({**manifest, "metric": "RMSE"}))
    rows = listed("searches", sort="valid")
    assert [(Path(row["folder"]).name, row["metric"]) for row in rows] == [("b", "RMSE"), ("a", "RMSE")]


def test_a_damaged_search_is_told(search: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    (search("searches/a", TRIALS) / "manifest.json").write_text("[")
    (row,) = listed("searches")
    assert (row["state"], row["trials"], row["valid"]) == ("damaged", 0, None)
    assert "searches/a/manifest.json: damaged" in capsys.readouterr().err


def test_no_runs(write: Write, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    assert run_list(RunsOptions()) == "no runs in runs"
    assert listed() == []
    (tmp_path / "runs").rmdir()
    assert run_list(RunsOptions()) == "no runs in runs, searches"


def test_a_folder_that_is_not_there(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write("runs/a", {})
    with pytest.raises(SystemExit) as stop:
        main(["runs", "runs", "rnus"])
    shown = capsys.readouterr()
    assert (stop.value.code, shown.out) == (2, "")
    assert shown.err == "ugts: rnus: not a folder; allowed are folders of runs, or with runs in them\n"


def test_the_list_needs_nothing_heavy(write: Write, search: Callable[..., Path]) -> None:
    write("runs/a", {})
    half_done(write("runs/half"), 0.5)
    search("searches/b", TRIALS)
    code = """
import sys
from ugts_dist.cli import main
main(["runs"])
assert not {"torch", "numpy"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "runs/a" in done.stdout
    assert "searches/b" in done.stdout
