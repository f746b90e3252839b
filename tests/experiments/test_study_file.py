"""A study of one's own: what its file makes, and what is refused, with the file's name and the field."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from tests.docs.pages import ROOT, blocks
from tests.experiments.test_study import PUBLISHED, VALUES
from ugts_dist.cli import main
from ugts_dist.config import Config, flat, load_preset
from ugts_dist.experiments.study import study_names, study_of
from ugts_dist.experiments.study_file import check_study, read_study

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes `two.toml` after an edit of its values."""
    monkeypatch.chdir(tmp_path)

    def written(edit: Callable[[dict[str, Any]], object] = lambda values: None) -> str:
        values = copy.deepcopy({**VALUES, "published": PUBLISHED})
        edit(values)
        Path("two.toml").write_text(tomli_w.dumps(values))
        return "two.toml"

    return written


def test_a_file_makes_the_same_study_as_its_values(write: Write) -> None:
    read, made = read_study(write()), study_of("two", VALUES, PUBLISHED)
    assert read.own
    assert not made.own
    assert (read.name, read.panels, read.columns) == (made.name, made.panels, made.columns)
    assert [len(cell.configs) for cell in read_study("two.toml", seeds=1).cells] == [1, 1, 1, 1, 1]


def test_every_built_in_study_passes_the_check() -> None:
    folder = resources.files("ugts_dist.experiments")
    published = tomllib.loads((folder / "published.toml").read_text(encoding="utf-8"))
    for name in study_names():
        values = tomllib.loads((folder / "studies" / f"{name}.toml").read_text(encoding="utf-8"))
        check_study(values, published.get(name, {}), Path())


def test_columns_of_texts(write: Write) -> None:
    def edit(values: dict[str, Any]) -> None:
        values["columns"] = {"field": "model.arch", "values": ["gcn", "sage"]}
        values["panels"][1]["columns"] = ["sage"]

    cells = read_study(write(edit)).cells
    archs = [(cell.column, cell.configs[0].model.arch) for cell in cells]
    assert archs == [("gcn", "gcn"), ("sage", "sage"), ("", "gcn"), ("sage", "sage"), ("", "gcn")]


def test_arguments_of_an_own_network_may_vary(write: Write) -> None:
    def edit(values: dict[str, Any]) -> None:
        # An own network has none of the fields of the program's networks.
        values["panels"] = [{"title": "Digits", "presets": {"own": "own.toml"}}]
        values["columns"] = {"field": "model.args.hidden", "values": [8, 16]}
        rows = [{"label": norm, "preset": "own", "fields": {"model.args.norm": norm}} for norm in ("batch", "none")]
        values.update(rows=rows, published={})

    Path("own.toml").write_text(tomli_w.dumps({"model": {"factory": "nets.py:build"}}))
    args = [cell.configs[0].model.args for cell in read_study(write(edit)).cells]
    assert args == [{"norm": norm, "hidden": hidden} for norm in ("batch", "none") for hidden in (8, 16)]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"data.standardize": True}, {"data.features": "standardize-raw"}),  # the preset does not normalise rows
        ({"data.row_normalize": True}, {"data.features": "auto"}),
        ({"log.tensorboard": True}, {"log.to": []}),  # runs of a study have no logs
        ({"supermask.floor": 0.25}, {"supermask.min_layer_density": 0.25}),
    ],
)
def test_old_names_of_fields_are_read(write: Write, fields: dict[str, Any], expected: dict[str, Any]) -> None:
    config = read_study(write(lambda values: values.update(fields=fields))).cells[0].configs[0]
    shown = flat(config.to_dict())
    assert {name: shown[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("fields", "row", "expected"),
    [
        ({"supermask.floor": 0.5}, {"supermask.min_layer_density": 0.25}, {"supermask.min_layer_density": 0.25}),
        ({"supermask.min_layer_density": 0.5}, {"supermask.floor": 0.25}, {"supermask.min_layer_density": 0.25}),
        ({"data.features": "auto"}, {"data.standardize": True}, {"data.features": "standardize"}),
        ({"data.standardize": True}, {"data.row_normalize": True}, {"data.features": "standardize"}),
        ({"log.tensorboard": True}, {"log.to": ["wandb"]}, {"log.to": []}),
    ],
)
def test_a_row_has_priority_under_any_name_of_a_field(
    write: Write, fields: dict[str, Any], row: dict[str, Any], expected: dict[str, Any]
) -> None:
    def edit(values: dict[str, Any]) -> None:
        values["fields"] = fields
        values["rows"][0]["fields"] = row

    shown = flat(read_study(write(edit)).cells[0].configs[0].to_dict())
    assert {name: shown[name] for name in expected} == expected


def test_a_preset_may_be_a_file_beside_the_study(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(lambda values: values["panels"][0]["presets"].update(ours="base.toml"))
    Path("base.toml").write_text(load_preset("digits").replace({"optim.lr": 0.25}).to_toml())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    cells = read_study(f"../{file}").cells
    assert [cell.configs[0].optim.lr for cell in cells] == [0.25, 0.25, 0.25, *[load_preset("digits").optim.lr] * 2]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda v: v.pop("title"), "title is missing, allowed is a text"),
        (lambda v: v.pop("columns"), "columns is missing, allowed is a table"),
        (lambda v: v.update(titel="x"), "unknown field 'titel' (did you mean title?)"),
        (lambda v: v.update(measure="tset"), "measure is 'tset', allowed is one of test, valid, ood, mad, gradients"),
        (lambda v: v.update(seeds=0), "seeds is 0, allowed is a whole number of 1 or more"),
        (lambda v: v.update(seeds=True), "seeds is True, allowed is a whole number"),
        (lambda v: v.update(panels=[]), "panels is [], allowed is tables [[panels]]"),
        (lambda v: v.update(rows="x"), "rows is 'x', allowed is tables [[rows]]"),
        (lambda v: v.update(fields={"run": {"epochs": 4}}), "[fields]: unknown field 'run', allowed are quoted names"),
        (lambda v: v.update(fields={"log.tensorboard": 1}), "log.tensorboard is 1, allowed is true or false; its new"),
        (
            lambda v: v.update(fields={"data.features": [1], "data.standardize": True}),
            "data.features replaces data.standardize; remove the old name",
        ),
        (
            lambda v: v["panels"][0].update(rows={"UGT": {}}),
            "rows of panel 'Digits': unknown row 'UGT'; allowed are UGTs, dense",
        ),
        (  # a row of another panel only
            lambda v: (v["rows"][1].update(panels=["Narrow"]), v["panels"][0].update(rows={"dense": {}})),
            "rows of panel 'Digits': unknown row 'dense'; allowed are UGTs",
        ),
        (lambda v: v.update(fields={"run.epoch": 4}), "[fields]: unknown field 'run.epoch' (did you mean run.epochs?)"),
        (lambda v: v.update(fields={"model.args.a-b": 4}), "[fields]: unknown field 'model.args.a-b'"),
        (lambda v: v.update(fields={"run.seed": 4}), "[fields]: run.seed is not allowed, each run has its own"),
        (lambda v: v.update(fields={"run.epochs": 0}), "run.epochs is 0, allowed is 1 to"),
        (lambda v: v["rows"][0].pop("preset"), "row 'UGTs': preset is missing"),
        (lambda v: v["rows"][0].pop("label"), "row number 1: label is missing"),
        (lambda v: v["rows"][1].update(label="UGTs"), "rows: 'UGTs' is there 2 times, allowed is once"),
        (lambda v: v["rows"][0].update(fields={"a.b": 1}), "fields of row 'UGTs': unknown field 'a.b'"),
        (lambda v: v["rows"][0].update(panels=["Digit"]), "panels of row 'UGTs': unknown panel 'Digit' (did you mean"),
        (
            lambda v: v["rows"][0].update(preset="our"),
            "preset of row 'UGTs': panel 'Digits' has none of this name, 'our' (did you mean ours?)",
        ),
        (lambda v: v["panels"][0].update(presets={}), "preset of row 'UGTs': panel 'Digits' has none of this name"),
        (
            lambda v: v["panels"][0].update(presets={"ours": "cora-gnc"}),
            "presets of panel 'Digits': ours is an unknown preset 'cora-gnc' (did you mean cora-gcn?)",
        ),
        (
            lambda v: v["panels"][0].update(presets={"ours": "none.toml"}),
            "presets of panel 'Digits': ours is 'none.toml', and there is no such file",
        ),
        (lambda v: v["panels"][1].update(columns=["0.8"]), "columns of panel 'Narrow': unknown column '0.8'"),
        (lambda v: v["panels"][1].update(seeds=-1), "panel 'Narrow': seeds is -1, allowed is a whole number"),
        (lambda v: [row.update(panels=["Digits"]) for row in v["rows"]], "panel 'Narrow' has no row"),
        (lambda v: v["columns"].update(values=[]), "[columns]: values is [], allowed is a list of numbers or texts"),
        (lambda v: v["columns"].update(values=[0.5, 0.5]), "columns: '0.5' is there 2 times"),
        (lambda v: v["columns"].update(field="model.widht"), "[columns]: unknown field 'model.widht' (did you mean"),
        (lambda v: v.update(columns={"wide": 3}), "column 'wide' is 3, allowed is a table of fields"),
        (
            lambda v: v["published"]["digits"].update(ugts=[1.0]),
            "published.digits: ugts is [1.0], allowed is a number, or one for each of the 2 columns",
        ),
    ],
)
def test_a_mistake_is_told_in_a_line_with_file_and_field_before_any_run(
    write: Write, edit: Callable[[dict[str, Any]], object], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(edit)
    with pytest.raises(SystemExit) as stop:
        main(["reproduce", file])
    shown = capsys.readouterr()
    assert (stop.value.code, shown.out) == (2, "")
    assert shown.err.startswith(f"ugts: two.toml: {message}")
    assert shown.err.count("\n") == 1
    assert not Path("reproduction").exists()


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["none.toml"], "none.toml: cannot be read as a study"),
        (["bad.toml"], "bad.toml: cannot be read as a study"),
        (["two.toml", "folder/two.toml"], "two: 2 studies have this name"),
    ],
)
def test_files_that_can_not_be_read_or_told_apart(
    write: Write, targets: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write()
    Path("bad.toml").write_text("[")
    Path("folder").mkdir()
    Path("folder/two.toml").write_text(Path("two.toml").read_text())
    with pytest.raises(SystemExit):
        main(["reproduce", *targets])
    assert capsys.readouterr().err.startswith(f"ugts: {message}")


def test_the_example_of_the_documentation_has_every_cell_that_it_says(tmp_path: Path) -> None:
    """The test of the page runs it."""
    (example,) = [block.text for block in blocks(ROOT / "docs/reproduce.md") if block.title == "mine.toml"]
    (tmp_path / "mine.toml").write_text(example)
    study = read_study(str(tmp_path / "mine.toml"))
    listed = {(cell.row, cell.column, len(cell.configs), cell.published) for cell in study.cells}
    both = {(row, column, 2, None) for row in ("UGTs", "Edge-Popup") for column in ("0.5", "0.9")}
    assert listed == both | {("trained dense", "", 2, 95.0)}
    assert {cell.configs[0].supermask.method for cell in study.cells} == {"ugts", "edge-popup", "dense"}
    assert all(isinstance(config, Config) for cell in study.cells for config in cell.configs)
