"""Data that have changed under a run or a ticket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.trials.case import Outcome, case, ugts
from tests.trials.small import QUICK, cut_off, edit, store, train, trained, webkb


def resumed(folder: Path, *arguments: str, **changes: Any) -> Outcome:
    """A run that was cut off after two epochs and is to go on to its fourth, on other data."""
    data = store(folder / "data")
    run = cut_off(data, folder / "run")
    store(data, **changes)
    return train(data, run, "--run.epochs", "4", "--resume.override", "run.epochs", *arguments)


@case(r"exit 2: ugts: \S+: a run on other data, labels differ \(SHA-256 [0-9a-f]{64}, now [0-9a-f]{64}\)")
def resume_with_other_labels(folder: Path) -> str:
    """A run goes on after its store was made anew with other labels."""
    return resumed(folder, y=lambda y: y.roll(1)).told


@case(r"exit 2: .* a run on other data, features differ .* --resume.override data$")
def resume_with_other_features(folder: Path) -> str:
    """A run goes on after its store was made anew with other features."""
    return resumed(folder, x=lambda x: x * 2).told


@case(r"exit 2: .* a run on other data, edges differ ")
def resume_with_other_edges(folder: Path) -> str:
    """A run goes on after its store was made anew with other edges."""
    return resumed(folder, edge_index=lambda edges: edges[:, :-20]).told


@case(r"exit 2: .* a run on other data, split differ ")
def resume_with_another_split(folder: Path) -> str:
    """A run goes on after its store was made anew with another split."""
    return resumed(folder, valid=lambda valid: valid[:-1]).told


@case(r"exit 0: .* resumes at epoch 2")
def resume_with_other_labels_on_purpose(folder: Path) -> str:
    """A run goes on with other labels, and --resume.override data."""
    return resumed(folder, "data", y=lambda y: y.roll(1)).told


@case(r"exit 2: .* a run on other data, labels differ ")
def finished_run_on_other_data(folder: Path) -> str:
    """A finished run is asked for again after its labels have changed."""
    data = store(folder / "data")
    run = trained(data, folder / "run")
    store(data, y=lambda y: y.roll(1))
    return train(data, run).told


@case(r"exit 2: .* a run on other data, features differ .*; branch there: False")
def branch_on_other_data(folder: Path) -> str:
    """A run branches off from one whose features have changed."""
    data = store(folder / "data")
    run = trained(data, folder / "run")
    store(data, x=lambda x: x * 2)
    told = train(data, folder / "branch", "--resume", run).told
    return f"{told}; branch there: {(folder / 'branch').exists()}"


@case(r"exit 0: ugts: note: the scores of \S+ were found on other data: features differ")
def scores_of_other_data(folder: Path) -> str:
    """A run starts from the scores of one on other features."""
    data = store(folder / "data")
    run = trained(data, folder / "run")
    store(data, x=lambda x: x * 2)
    return train(data, folder / "second", "--init-scores", run).told


@case(r"exit 2: .* a run on other data, features differ ")
def resume_with_another_raw_file(folder: Path) -> str:
    """A run goes on after a raw file of its graph was changed."""
    nodes = webkb(folder / "webkb/texas/raw")
    options = ("--data.name", "texas", "--data.root", folder, *QUICK, "--run.folder", folder / "run")
    assert ugts("train", *options).code == 0
    (folder / "run/result.json").unlink()
    edit(nodes, "\n29\t1,1,1", "\n29\t0,1,1")
    return ugts("train", *options).told


def used(folder: Path, *command: str, **changes: Any) -> str:
    """A command on the ticket of a finished run whose store has been made anew."""
    data = store(folder / "data")
    run = trained(data, folder / "run")
    store(data, **changes)
    name, *rest = command
    return ugts(*name.split(), run, *(word.format(folder) for word in rest)).told


@case(r"exit 0: ugts: note: \S+ was found on other data than this small: labels differ ")
def evaluate_on_other_labels(folder: Path) -> str:
    """A ticket is evaluated after the labels of its graph have changed."""
    return used(folder, "evaluate", y=lambda y: y.roll(1))


@case(r"exit 0: ugts: note: \S+ was found on other data than this small: features and edges differ")
def analyse_on_other_features(folder: Path) -> str:
    """A ticket is analysed after features and edges of its graph have changed."""
    return used(folder, "analyse calibration", x=lambda x: x * 2, edge_index=lambda edges: edges[:, :-20])


@case(
    r"exit 0: ugts: note: .*: features, labels, edges and number of nodes \(30 there, 40 here\) differ.* 40 rows, acc"
)
def predict_for_another_graph(folder: Path) -> str:
    """A ticket predicts for the nodes of another graph."""
    return used(folder, "predict", "--out", "{}/predictions.parquet", num_nodes=40)
