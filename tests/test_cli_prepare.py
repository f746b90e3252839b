from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.graphs.stores import options, random_parts, write_parts
from ugts_dist.cli import main


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the files of a graph, and nothing of the user's own in the environment."""
    monkeypatch.chdir(tmp_path)
    for variable in ("UGTS_DATA", "UGTS_STORES"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write_parts(Path(), random_parts(60, 300), ".csv")
    return tmp_path


OWN = options({part: f"{part}.csv" for part in ("edges", "features", "labels", "train", "valid", "test")})


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], folder: Path) -> Callable[..., str]:
    """Run the program on a mistake, which writes no file. Returns the last line of its output."""

    def files() -> set[Path]:
        return {path for path in folder.rglob("*") if not path.is_dir()}

    def run(*args: str) -> str:
        before = files()
        with pytest.raises(SystemExit) as stop:
            main(["prepare", *args])
        shown = capsys.readouterr()
        assert stop.value.code == 2, shown.err
        assert shown.out == ""
        *stages, complaint = shown.err.splitlines()
        assert all(line.startswith("prepare ") for line in stages)
        assert complaint.startswith("ugts: ")
        assert files() == before
        return complaint

    return run


def test_prepare_verify_and_train(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    main(["prepare", "mine", *OWN, "--undirected"])
    shown = capsys.readouterr()
    store = folder / "home/.cache/ugts_dist/stores/mine"
    assert shown.out.startswith(f"{store}: mine, 60 nodes, ")
    assert shown.err.splitlines() == [
        f"prepare mine: {stage}" for stage in ("features", "edges", "neighbours", "checks")
    ]
    main(["prepare", "mine", "--verify"])
    assert capsys.readouterr().out == shown.out.rstrip() + ", all checksums right\n"
    main(["train", "--data.name", "mine", "--run.epochs", "2", "--model.width", "8", "--run.folder", "run"])
    assert "test accuracy" in capsys.readouterr().out
    assert (folder / "run/best.ticket").is_file()


def test_a_changed_store_is_told(refused: Callable[..., str], capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    main(["prepare", "mine", *OWN, "--out", "store"])
    capsys.readouterr()
    path = folder / "store/y.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    assert refused("mine", "--out", "store", "--verify").startswith("ugts: store: y.npy changed since written (SHA-256")
    assert "exists already; remove it, or name another folder with --out" in refused("mine", *OWN, "--out", "store")


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        ("", "NAME"),
        ("coar", "NAME: 'coar' is not a dataset (did you mean cora?); allowed: cora, "),
        ("ogbn-mag", "NAME: 'ogbn-mag' is not a dataset (did you mean ogbn-arxiv"),
        ("a/b --data graph.pt", "NAME: 'a/b'; allowed: a name for the graph"),
        (".. --verify", "NAME: '..'; allowed: a name for the graph"),
        ("mine --edges edges.csv", "--features: not given; allowed: --edges, "),
        ("mine --edges edges.csv --train train.csv", "--features, --labels, --valid, --test: not given; allowed: "),
        ("mine --edges edges.csv --features x.npy --num-classes 3", "--num-classes: not for a graph without --labels"),
        ("mine --edges edges.csv --split-random 60/20/20", "--features, --labels: not given; allowed: --edges, "),
        ("cora --split-random 60/20/20", "--split-random: not for the dataset cora"),
        ("arxiv-like --split-random 60/20/20", "--split-random: not for the synthetic arxiv-like"),
        ("mine --split-random 60/20/20", "--edges, --features, --labels: not given; allowed: --edges, "),
        ("mine --data graph.pt --split-random 60/20", "--split-random is 60/20, allowed is percentages for training, "),
        ("mine --data graph.pt --split-random 60/20/20 --split 1", "--split: not for --split-random, which draws the "),
        ("mine --data graph.pt --seed 1", "--seed: not for mine, which is not synthetic"),
        ("mine --data graph.pt", "graph.pt: no such file"),
        ("mine --data graph.pt --edges edges.csv", "--edges: not for --data, which has all parts"),
        ("wisconsin --edges edges.csv", "NAME: wisconsin is the name of a dataset; choose another name for your own"),
        ("ogbg-molhiv --data graph.pt", "NAME: ogbg-molhiv is the name of a dataset; choose another name"),
        ("cora --undirected", "--undirected: not for the dataset cora"),
        ("cora --scale 0.5", "--scale: not for cora, which is not synthetic"),
        ("ogbn-arxiv --split 1", "--split: not for ogbn-arxiv, which has one split"),
        ("arxiv-like --root data", "--root: not for the synthetic arxiv-like"),
        ("arxiv-like --row-normalize yes", "--row-normalize: not for the synthetic arxiv-like"),
        ("arxiv-like --scale 0", "0.0"),
        ("texas --split 10 --root .", "data.split: 10 is not a split of texas; allowed: 0 to 9"),
        ("mine --verify", "stores/mine: is no graph store (meta.json is missing)"),
        ("mine --dtype float16", "float16"),
        ("mine --num-classes -1 --data graph.pt", "--num-classes: -1; allowed: 1 or more"),
        ("mine --egdes edges.csv", "--egdes"),
    ],
)
def test_mistakes(refused: Callable[..., str], args: str, complaint: str) -> None:
    assert complaint in refused(*args.split())


def test_a_wrong_row_is_named(refused: Callable[..., str], folder: Path) -> None:
    lines = (folder / "edges.csv").read_text().splitlines()
    lines[6] = "5,abc"
    (folder / "edges.csv").write_text("\n".join([*lines, ""]))
    assert refused("mine", *OWN) == "ugts: edges.csv row 7: 'abc' in column 2; allowed: integers"


def test_a_folder_that_may_not_be_written(refused: Callable[..., str], folder: Path) -> None:
    (folder / "file").write_text("")
    assert "cannot be written (Not a directory)" in refused("mine", *OWN, "--out", os.path.join("file", "store"))


def test_help_names_the_parts(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["prepare", "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    for option in ("--edges", "--features", "--data", "--verify", "--scale", "--dtype", "--out"):
        assert option in shown
