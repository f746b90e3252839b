"""The page of a run has what is in the run's files, counted again here."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.report.pages import PNG
from tests.report.parsed import Parsed, check_self_contained
from ugts_dist.analysis.kinds import robustness
from ugts_dist.analysis.robustness import Noise, UnderNoise
from ugts_dist.checkpointing.result_file import read_result, write_result
from ugts_dist.config import Config, load_preset
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.report.command import write_report
from ugts_dist.report.options import ReportOptions
from ugts_dist.supermask import Ticket
from ugts_dist.training.run import run

pytestmark = pytest.mark.xdist_group("reported runs")

EPOCHS = 8


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A ticket's run and a dense network's, once for all tests here."""
    folder = tmp_path_factory.mktemp("runs")
    base = load_preset("digits").replace(
        {
            "batch.size": 0,
            "batch.fan_out": [],
            "optim.lr": 0.05,
            "run.epochs": EPOCHS,
            "log.to": [],
            "log.progress": False,
        }
    )
    for method in ("ugts", "dense"):
        changes = {"supermask.method": method, "run.folder": str(folder / method), "supermask.ramp": 0.25}
        run(base.replace(changes), Ranks())
    return {method: folder / method for method in ("ugts", "dense")}


@pytest.fixture
def copy(runs: dict[str, Path], tmp_path: Path) -> Callable[..., Path]:
    """The folder of a run that a test may spoil."""

    def made(method: str = "ugts") -> Path:
        return Path(shutil.copytree(runs[method], tmp_path / "copy", ignore=shutil.ignore_patterns("report.html")))

    return made


def page_of(folder: Path) -> Parsed:
    parsed = Parsed.of(write_report(ReportOptions((str(folder),))))
    check_self_contained(parsed)
    return parsed


def result_of(folder: Path) -> dict[str, Any]:
    return read_result(folder)


def metrics_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def write_metrics(folder: Path, lines: list[dict[str, Any]]) -> None:
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def as_float(text: str) -> float:
    return float(text.replace(",", ""))


def test_the_headline_is_the_result(runs: dict[str, Path]) -> None:
    page, result = page_of(runs["ugts"]), result_of(runs["ugts"])
    pairs = page.pairs()
    for name, key in (
        ("test accuracy", "test"),
        ("best validation accuracy", "valid"),
        ("achieved sparsity", "sparsity"),
        ("test accuracy at the best validation of all epochs", "test_any"),
        ("test accuracy after the last epoch", "test_last"),
    ):
        assert as_float(pairs[name]) == pytest.approx(result[key], abs=5e-5)
    assert pairs["in epoch"] == str(result["epoch"])
    assert as_float(pairs["bytes of its file"]) == (runs["ugts"] / "best.ticket").stat().st_size
    assert as_float(pairs["seconds"]) == pytest.approx(result["seconds"], rel=1e-3)
    assert pairs["data"] == "digits"
    assert pairs["network"] == "GCN of depth 2 and width 256"
    assert pairs["method"] == "UGTs at sparsity 0.9"
    assert f"reaches a test accuracy of {result['test']:.4f}" in page.text
    assert page.problems() == 0


def test_the_dense_network_has_the_bytes_that_are_told(runs: dict[str, Path]) -> None:
    # Four bytes for each of 64 x 256 + 256 x 10 weights.
    dense = 4 * (64 * 256 + 256 * 10)
    pairs = page_of(runs["ugts"]).pairs()
    size = (runs["ugts"] / "best.ticket").stat().st_size
    assert as_float(pairs["bytes of the dense network's tensors, float32"]) == dense
    assert pairs["share of the dense network"] == f"{100 * size / dense:.2f}%"
    assert 0 < (runs["dense"] / "best.safetensors").stat().st_size - dense < 4000  # its header


def test_every_measured_epoch_is_in_the_table(runs: dict[str, Path]) -> None:
    metrics = metrics_of(runs["ugts"])
    assert len(metrics) == EPOCHS
    rows = page_of(runs["ugts"]).table(*metrics[0])
    assert len(rows) == EPOCHS
    for row, line in zip(rows, metrics, strict=True):
        assert row[0] == str(line["epoch"])
        assert [as_float(cell) for cell in row[1:]] == pytest.approx(list(line.values())[1:], abs=5e-5)


def test_density_per_layer_is_that_of_the_masks(runs: dict[str, Path]) -> None:
    masks = {name: mask.numpy() for name, mask in Ticket.load(runs["ugts"] / "best.ticket").masks.items()}
    page = page_of(runs["ugts"])
    *rows, total = page.table("weight", "shape", "weights", "kept", "density")
    assert [row[0] for row in rows] == list(masks)
    for row, mask in zip(rows, masks.values(), strict=True):
        kept = int(np.count_nonzero(mask))
        assert [as_float(cell) for cell in row[2:4]] == [mask.size, kept]
        assert as_float(row[4]) == pytest.approx(kept / mask.size, abs=5e-5)
        assert row[1] == " x ".join(map(str, mask.shape))
    kept, weights = sum(int(mask.sum()) for mask in masks.values()), sum(mask.size for mask in masks.values())
    assert total[2:] == [f"{weights:,}", f"{kept:,}", f"{kept / weights:.4f}"]
    assert f"a mask keeps {kept:,} of its {weights:,} weights" in page.text


def test_the_bytes_add_up_and_stay_above_the_entropy(runs: dict[str, Path]) -> None:
    page = page_of(runs["ugts"])
    masks, others, header, file = (int(as_float(row[1])) for row in page.table("", "bytes", "of the file"))
    assert masks + others + header == file == (runs["ugts"] / "best.ticket").stat().st_size
    bits = 0.0
    for mask in Ticket.load(runs["ugts"] / "best.ticket").masks.values():
        p = float(mask.double().mean())
        assert 0 < p < 1
        bits -= mask.numel() * (p * np.log2(p) + (1 - p) * np.log2(1 - p))
    assert f"No code takes less than {bits / 8:,.1f} bytes" in page.text
    assert bits / 8 < masks < 1.03 * bits / 8 + 40


def test_configuration_and_origin_are_told(runs: dict[str, Path]) -> None:
    page = page_of(runs["ugts"])
    text = (runs["ugts"] / "config.toml").read_text()
    assert text in page.text
    changed = {row[0]: row[1:] for row in page.table("field", "value", "default")}
    assert changed["run.epochs"] == [str(EPOCHS), "400"]
    assert changed["supermask.ramp"] == ["0.25", "0.5"]
    assert set(changed) <= {f"{section}.{name}" for section, fields in tomllib.loads(text).items() for name in fields}
    ticket = Ticket.load(runs["ugts"] / "best.ticket")
    pairs = page.pairs()
    assert pairs["SHA-256 of the weights"] == ticket.fingerprint
    assert pairs["data.sha256"] == ticket.provenance["data"]["sha256"]
    assert pairs["torch"] == ticket.provenance["torch"]
    assert "ugts evaluate best.ticket" in page.text


def test_arguments_of_an_own_network_are_settings_without_a_default(copy: Callable[..., Path]) -> None:
    folder = copy()
    own = {"model.factory": "nets.py:build", "model.args.hidden": 48}
    (folder / "config.toml").write_text(Config().replace(own).to_toml())
    changed = {row[0]: row[1:] for row in page_of(folder).table("field", "value", "default")}
    assert changed["model.args.hidden"] == ["48", "-"]
    assert changed["model.factory"] == ["nets.py:build", ""]


def test_curves_are_figures_of_a_small_page(runs: dict[str, Path]) -> None:
    page = page_of(runs["ugts"])
    captions = [attributes["alt"] for tag, attributes in page.tags if tag == "img"]
    assert captions == [
        "Training loss over epochs",
        "Accuracy over epochs",
        "Sparsity while training over epochs",
        "Threshold over epochs",
        "Density per layer",
    ]
    assert all(image.startswith(b"\x89PNG") for image in page.images())
    assert len(page.source) < 400_000


def test_thresholds_are_drawn_where_they_are_recorded(copy: Callable[..., Path]) -> None:
    folder = copy()
    lines = [{name: value for name, value in line.items() if name != "threshold"} for line in metrics_of(folder)]
    write_metrics(folder, lines)
    assert "hreshold over epochs" not in page_of(folder).text
    values = [float("-inf"), *(0.01 * k for k in range(1, EPOCHS))]
    write_metrics(folder, [{**line, "threshold": value} for line, value in zip(lines, values, strict=True)])
    page = page_of(folder)
    assert "Threshold over epochs" in page.text
    rows = page.table(*lines[0], "threshold")
    assert [row[-1] for row in rows[:3]] == ["-inf", "0.0100", "0.0200"]


def test_a_learning_rate_that_changes_is_drawn(copy: Callable[..., Path]) -> None:
    folder = copy()
    write_metrics(folder, [{**line, "lr": 0.1 / (1 + line["epoch"])} for line in metrics_of(folder)])
    assert "Learning rate over epochs" in page_of(folder).text


def test_many_epochs_are_thinned_out_but_for_the_best(copy: Callable[..., Path]) -> None:
    folder = copy()
    line = metrics_of(folder)[0]
    write_metrics(folder, [{**line, "epoch": epoch} for epoch in range(2001)])
    result = result_of(folder)
    write_result(folder, {**result, "epoch": 1003})
    epochs = [int(row[0]) for row in page_of(folder).table(*line)]
    assert len(epochs) < 450
    assert {0, 1003, 2000} <= set(epochs)
    assert epochs == sorted(set(epochs))


def test_a_dense_run_has_layers_but_no_densities(runs: dict[str, Path]) -> None:
    page, result = page_of(runs["dense"]), result_of(runs["dense"])
    rows = page.table("weight", "shape", "weights")
    assert [row[1:] for row in rows] == [["256 x 64", "16,384"], ["10 x 256", "2,560"]]
    assert as_float(page.pairs()["test accuracy"]) == pytest.approx(result["test"], abs=5e-5)
    assert "ugts evaluate best.safetensors" in page.text
    assert "Density" not in page.text
    assert page.problems() == 0


# Runs under way, and damaged files


def test_an_unfinished_run_says_so(copy: Callable[..., Path]) -> None:
    folder = copy()
    (folder / "result.json").unlink()
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 8, "loss"')  # as it is being written
    page = page_of(folder)
    assert f"This run is not finished: it has come to epoch {EPOCHS} of {EPOCHS}." in page.text
    assert "ugts train . " in page.text
    best = Ticket.load(folder / "best.ticket").metrics
    assert page.pairs()["in epoch"] == str(int(best["epoch"]))
    assert as_float(page.pairs()["test accuracy"]) == pytest.approx(best["test"], abs=5e-5)
    assert page.problems() == 0


def test_a_run_that_has_just_begun_has_a_page(copy: Callable[..., Path]) -> None:
    folder = copy()
    for name in ("result.json", "metrics.jsonl", "best.ticket"):
        (folder / name).unlink()
    page = page_of(folder)
    assert f"it has come to epoch 0 of {EPOCHS}" in page.text
    assert "No epoch has been measured yet" in page.text
    assert page.problems() == 0


@pytest.mark.parametrize(
    ("name", "text", "told", "left"),
    [
        ("result.json", "{", "result.json: damaged", "This run is not finished"),
        ("result.json", "[" * 100_000, "result.json: damaged (nested too deeply)", "Density per layer"),
        ("best.ticket", "no ticket", "best.ticket: not a ticket", "Accuracy over epochs"),
        ("config.toml", "[model]\ndepth = 0\n", "config.toml: model.depth is 0", "digits, GCN of depth 2"),
        ("metrics.jsonl", "{}\n", "line 1 is damaged (it has no epoch)", "Density per layer"),
        ("metrics.jsonl", '{"epoch": NaN}\n', "line 1 is damaged (it has no epoch)", "Density per layer"),
        ("metrics.jsonl", '{"epoch": 1, "loss": 1e999}\n', "", "Density per layer"),
        ("metrics.jsonl", '{"epoch": 1, "loss": 1' + "0" * 400 + "}\n", "line 1 is damaged", "Density per layer"),
    ],
)
def test_a_damaged_file_is_a_problem_on_the_page(
    copy: Callable[..., Path], name: str, text: str, told: str, left: str
) -> None:
    folder = copy()
    (folder / name).write_text(text)
    page = page_of(folder)
    assert page.problems() == bool(told)
    assert told in page.text
    assert left in page.text


def test_the_ticket_of_another_run_does_not_pass_for_the_result(copy: Callable[..., Path]) -> None:
    folder = copy()
    result = result_of(folder)
    write_result(folder, {**result, "test": result["test"] + 0.001})
    page = page_of(folder)
    assert page.problems() == 1
    assert "best.ticket is another network than that of result.json: test is" in page.text


def test_a_folder_without_anything_usable_is_refused(copy: Callable[..., Path]) -> None:
    folder = copy()
    for name in ("config.toml", "metrics.jsonl", "best.ticket"):
        (folder / name).write_text("?")
    with pytest.raises(InputError, match=r"config\.toml") as refused:
        page_of(folder)
    assert "\n" not in str(refused.value)
    assert not (folder / "report.html").exists()


# Analyses


def test_analyses_are_shown_whatever_they_hold(copy: Callable[..., Path]) -> None:
    folder = copy()
    place = folder / "analysis"
    place.mkdir()
    (place / "gradients.png").write_bytes(PNG)
    layers = [{"layer": k, "norm": 0.5 * k, "all": [1, 2]} for k in range(3)]
    values = {
        "epochs": 3,
        "flow": {"mean": 0.25, "name": "<b>"},
        "curve": [1, 2, 3],
        "long": [1] * 99,
        "layers": layers,
        "done": True,
    }
    (place / "gradients.json").write_text(json.dumps(values))
    (place / "smoothing.json").write_text("{")
    (place / "noise.png").write_text("no PNG")
    (place / "notes.txt").write_text("not shown")
    page = page_of(folder)
    for name in ("gradients", "smoothing", "noise"):
        assert f"Analysis: {name}\n" in page.text
    pairs = page.pairs()
    assert (pairs["epochs"], pairs["flow.mean"], pairs["flow.name"], pairs["done"]) == ("3", "0.2500", "<b>", "True")
    assert pairs["curve"] == "1, 2, 3"
    assert "long" not in pairs
    rows = [["0", "0.0000", "1, 2"], ["1", "0.5000", "1, 2"], ["2", "1.0000", "1, 2"]]
    assert page.table("layer", "norm", "all") == rows
    assert PNG in page.images()
    assert page.problems() == 2
    assert "smoothing.json: damaged" in page.text
    assert "noise.png: not a PNG" in page.text


def test_a_table_of_noise_has_the_accuracies(copy: Callable[..., Path]) -> None:
    folder = copy()
    (folder / "analysis").mkdir()
    measured: dict[Noise, list[UnderNoise]] = {
        "features": [UnderNoise(0.0, [0.9]), UnderNoise(0.4, [0.5, 0.7])],
        "edges": [UnderNoise(0.0, [0.9]), UnderNoise(0.4, [0.8, 0.8])],
    }
    values = {"analysis": "robustness", "result": robustness.finding(measured).values}
    (folder / "analysis" / "robustness.json").write_text(json.dumps(values))
    page = page_of(folder)
    headings = ["fraction", "accuracies", "mean", "deviation"]
    assert [table for table in page.tables if table[0] == headings] == [
        [headings, ["0.0000", "0.9000", "0.9000", "0.0000"], ["0.4000", "0.5000, 0.7000", "0.6000", "0.1000"]],
        [headings, ["0.0000", "0.9000", "0.9000", "0.0000"], ["0.4000", "0.8000, 0.8000", "0.8000", "0.0000"]],
    ]
    assert "features:" in page.text
    assert "edges:" in page.text


def test_the_result_of_an_analysis_comes_before_its_options(copy: Callable[..., Path]) -> None:
    folder = copy()
    (folder / "analysis").mkdir()
    values = {"analysis": "mad", "options": {"layer": 2}, "result": {"mad": {"convs.0": 0.5}}}
    (folder / "analysis" / "mad.json").write_text(json.dumps(values))
    page = page_of(folder)
    place = next(place for place, table in enumerate(page.tables) if ["mad.convs.0", "0.5000"] in table)
    assert page.tables[place + 1] == [["analysis", "mad"], ["options.layer", "2"]]


def test_a_hostile_name_is_no_markup(copy: Callable[..., Path]) -> None:
    folder = copy()
    (folder / "best.ticket").unlink()
    name = "<script>alert(1)<\\u002fscript>"
    text = (folder / "config.toml").read_text().replace('name = "digits"', f'name = "{name}"')
    (folder / "config.toml").write_text(text)
    page = page_of(folder)
    assert "script>, GCN of depth 2" in page.text
