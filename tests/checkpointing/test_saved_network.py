"""A saved network may come from anybody: it chooses no path on its reader's disk, and names its data."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from tests.trials.case import ugts
from tests.trials.small import store, trained
from ugts_dist.checkpointing.saved_network import load_saved
from ugts_dist.config import Config, place_fields
from ugts_dist.errors import InputError
from ugts_dist.graphs import catalogue
from ugts_dist.supermask import Ticket
from ugts_dist.tensor_file import read_tensor_file, write_tensor_file

NETWORKS = ("best.ticket", "best.safetensors")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs on a store: of a ticket and of a dense network."""
    folder = tmp_path_factory.mktemp("runs")
    trained(store(folder / "data"), folder / "best.ticket")
    trained(folder / "data", folder / "best.safetensors", "--supermask.method", "dense")
    return folder


@pytest.fixture(params=NETWORKS)
def foreign(request: pytest.FixtureRequest, runs: Path, tmp_path: Path) -> Callable[..., Path]:
    """Makes a saved network whose configuration somebody has changed, away from the folder of its run."""
    name = str(request.param)

    def make(**changes: Any) -> Path:
        path = shutil.copyfile(runs / name / name, tmp_path / name)
        values = {field.replace("__", "."): value for field, value in changes.items()}
        if path.suffix == ".ticket":
            ticket = Ticket.load(path)
            config = Config.from_dict(ticket.config, "").replace(values).to_dict()
            dataclasses.replace(ticket, config=config).save(path)
        else:
            header, tensors = read_tensor_file(path, "dense", "")
            header["config"] = Config.from_dict(header["config"], "").replace(values).to_dict()
            write_tensor_file(path, tensors, header, "dense")
        return path

    return make


def test_every_text_of_a_configuration_is_known_as_a_place_or_not() -> None:
    """A field that names a file or folder has to be a `Place`."""
    texts = [
        f"{section}.{name}"
        for section, kind in get_type_hints(Config).items()
        for name, hint in get_type_hints(kind).items()
        if hint is str
    ]
    assert sorted(texts) == sorted(["data.name", "log.project", "model.factory", *place_fields()])
    assert {"data.root", "run.folder", "run.init_scores", "run.spill"} <= {*place_fields()}


def test_a_network_names_no_place(foreign: Callable[..., Path], tmp_path: Path) -> None:
    places = {field.replace(".", "__"): str(tmp_path / "trap") for field in place_fields()}
    config = load_saved(foreign(**places)).config
    for field in place_fields():
        section, _, name = field.partition(".")
        assert getattr(getattr(config, section), name) == "", field


def test_no_command_goes_to_a_place_that_a_network_names(
    foreign: Callable[..., Path], runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command would fail or write at this place, which is a file."""
    monkeypatch.setenv("UGTS_STORES", str(runs))
    trap = tmp_path / "trap"
    trap.write_text("untouched")
    path = foreign(**{field.replace(".", "__"): str(trap) for field in place_fields()})
    commands: list[tuple[str | Path, ...]] = [
        ("evaluate", path),
        ("predict", path, "--out", tmp_path / "predictions.parquet"),
        ("analyse", "mad", path),
        ("analyse", "gradients", path),
        ("analyse", "training", path),
    ]
    if path.suffix == ".ticket":
        commands.append(("ticket", "export", path, "--format", "csr", "--out", tmp_path / "a.safetensors"))
    for command in commands:
        outcome = ugts(*command)
        assert outcome.code == 0, outcome.told
        assert str(trap) not in outcome.told
    assert trap.read_text() == "untouched"


@pytest.mark.parametrize("name", ["{}/data", "./data", "../data", "~/data", "data/.", "", ".", "..", "-data", "a\x1bb"])
def test_a_path_is_opened_only_for_the_reader(
    name: str, foreign: Callable[..., Path], runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs)
    monkeypatch.setenv("HOME", str(runs))
    monkeypatch.setenv("UGTS_STORES", str(runs))
    path = foreign(data__name=name.format(runs))
    for command in (("evaluate", path), ("predict", path, "--out", tmp_path / "a.parquet"), ("analyse", "mad", path)):
        refused = ugts(*command)
        assert refused.code == 2
        assert "is no plain name; name the graph yourself: --graph NAME or PATH" in refused.err
        assert "\x1b" not in refused.err
        shown = ugts(*command, "--graph", runs / "data")
        assert shown.code == 0, shown.told


def test_a_store_in_the_working_directory_is_the_readers_to_name(
    foreign: Callable[..., Path], runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = foreign()  # names `data`
    monkeypatch.chdir(runs)
    monkeypatch.setenv("UGTS_STORES", str(tmp_path / "stores"))
    assert "'data' is not a dataset" in ugts("evaluate", path).err
    assert ugts("evaluate", path, "--graph", "data").code == 0
    store(tmp_path / "stores/data", x=lambda x: x * 2)
    assert "features differ" in ugts("evaluate", path).err  # that one, and not the one of this folder


def test_names_of_datasets_are_anybodys() -> None:
    for name in catalogue.NAMES:
        assert catalogue.without_path(name) == name
    with pytest.raises(InputError, match="did you mean"):
        catalogue.without_path("digit")


def test_the_folder_of_a_run_tells_where_its_data_lie(runs: Path, tmp_path: Path) -> None:
    for name in NETWORKS:
        outcome = ugts("evaluate", runs / name)
        assert outcome.code == 0, outcome.told
        assert not outcome.err


def test_what_differs_is_told_in_a_calm_line(runs: Path, tmp_path: Path) -> None:
    other = store(tmp_path / "other", num_nodes=40, x=lambda x: x * 2)
    for number, name in enumerate(NETWORKS):
        commands = (
            ("evaluate", runs / name),
            ("predict", runs / name, "--out", tmp_path / f"{number}.parquet"),
            ("analyse", "mad", runs / name, "--out", tmp_path / f"{number}"),
            ("analyse", "training", runs / name, "--out", tmp_path / f"{number}"),
        )
        for command in commands:
            outcome = ugts(*command, "--graph", other)
            assert outcome.code == 0, outcome.told
            notes = [line for line in outcome.err.splitlines() if line.startswith("ugts: ")]
            assert notes == [
                f"ugts: note: {runs / name / name} was found on other data than this small: features, labels, edges "
                "and number of nodes (30 there, 40 here) differ; means and deviations of its columns are "
                + ("its own" if command[1] == "training" else "those of the training")
            ]
