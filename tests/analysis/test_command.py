"""`ugts analyse` from the command line to its files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ugts_dist.analysis.kinds import ANALYSES
from ugts_dist.cli import main

PNG = b"\x89PNG\r\n"
RESULTS = {
    "mad": {"mad"},
    "gradients": {"gradient_norms"},
    "training": {"layers", "weights", "epochs", "sparsity", "mad", "gradients"},
    "tsne": {"nodes", "classes", "points"},
    "ood": {"roc_auc", "classes", "num_known", "num_unknown", "mean_known", "mean_unknown"},
    "robustness": {"features", "edges"},
    "calibration": {"ece", "bins"},
}
OPTIONS = {"training": ["--every", "6"], "tsne": ["--points", "60"], "robustness": ["--draws", "1"]}


def analyse(*args: str) -> None:
    main(["analyse", *args])


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def run(*args: str) -> str:
        with pytest.raises(SystemExit) as stop:
            analyse(*args)
        assert stop.value.code == 2
        captured = capsys.readouterr()
        assert captured.err.count("\n") == 1
        return captured.err

    return run


@pytest.fixture
def copied(ticket_run: Path, tmp_path: Path) -> Path:
    """A run of this test's own."""
    return Path(shutil.copytree(ticket_run, tmp_path / "run"))


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda name: pytest.fail(f"{name} in JSON"))


@pytest.mark.parametrize("name", ANALYSES)
def test_every_analysis_leaves_a_table_and_two_files(
    name: str, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    analyse(name, str(copied), *OPTIONS.get(name, []))
    told = capsys.readouterr().out
    folder = copied / "analysis"
    assert told.startswith("digits, gcn of depth 2, ugts-0.")
    assert told.splitlines()[-2:] == [str(folder / f"{name}.json"), str(folder / f"{name}.png")]
    written = read(folder / f"{name}.json")
    assert written["analysis"] == name
    assert written["network"]["file"] == "best.ticket"
    assert written["result"]
    assert written["result"].keys() == RESULTS.get(name, written["result"].keys())
    assert (folder / f"{name}.png").read_bytes().startswith(PNG)
    assert sorted(path.name for path in folder.iterdir()) == [f"{name}.json", f"{name}.png"]
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_dense_network_and_a_file(dense_run: Path, tmp_path: Path) -> None:
    analyse("mad", str(dense_run / "best.safetensors"), "--out", str(tmp_path / "new" / "folder"))
    analyse("calibration", str(dense_run), "--out", str(tmp_path / "new" / "folder"), "--bins", "4")
    assert len(read(tmp_path / "new" / "folder" / "calibration.json")["result"]["bins"]) == 4
    assert list(read(tmp_path / "new" / "folder" / "mad.json")["result"]["mad"]) == ["1", "logits"]


def test_an_analysis_replaces_its_own_files_only(
    copied: Path, dense_run: Path, refused: Callable[..., str], tmp_path: Path
) -> None:
    folder = copied / "analysis"
    analyse("calibration", str(copied))
    analyse("calibration", str(copied), "--bins", "4")
    assert read(folder / "calibration.json")["options"] == {"graph": "", "bins": 4}
    # Of another network, of somebody else, and a figure whose file is gone.
    assert "calibration.json exists and is not of this" in refused("calibration", str(dense_run), "--out", str(folder))
    (folder / "mad.json").write_text("[1]")
    assert "mad.json exists and is not of this analysis" in refused("mad", str(copied))
    (folder / "calibration.json").unlink()
    assert "calibration.png exists and is not of this analysis" in refused("calibration", str(copied))
    assert (folder / "mad.json").read_text() == "[1]"
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        assert f"--out is {out}, but {tmp_path / 'file'} is no folder" in refused("mad", str(copied), "--out", str(out))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("", "expected one of {mad, gradients"),
        ("smooth a.ticket", "unknown command analyse 'smooth'; allowed are mad, gradients, training"),
        ("mad", "missing from ugts analyse mad: TICKET A .ticket file"),
        ("mad none.ticket", "none.ticket: no such file"),
        ("mad .", ".: no best.ticket or best.safetensors in this folder"),
        ("mad a.ticket --lyaer 1", "--lyaer"),
        ("training a.ticket --every 0", "--every is 0, allowed is 1 or more"),
        ("tsne a.ticket --perplexity 0", "--perplexity is 0.0, allowed is 1 or more"),
        ("tsne a.ticket --of all", "all"),
        ("tsne a.ticket --points 3", "--points is 3, allowed is 4 or more"),
        ("robustness a.ticket --fractions 0.1 1.1", "--fractions is [0.1, 1.1], allowed is one or more numbers in [0"),
        ("robustness a.ticket --draws 0", "--draws is 0, allowed is 1 or more"),
        ("calibration a.ticket --bins 0", "--bins is 0, allowed is 1 to 10000"),
        ("mad a.ticket --timeout nan", "--timeout is nan, allowed is above 0"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    refused: Callable[..., str], args: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message.lower() in refused(*args.split()).lower()
    assert not list(tmp_path.iterdir())


def test_mistakes_that_the_network_tells(refused: Callable[..., str], dense_run: Path, tmp_path: Path) -> None:
    told = refused("ood", str(dense_run), "--out", str(tmp_path / "out"))
    assert "of a run without left-out classes; train one with --data.left-out 0.4" in told
    told = refused("tsne", str(dense_run), "--out", str(tmp_path / "out"), "--layer", "2")
    assert "--layer is 2, allowed are 1 to 1, and 0 for the logits" in told
    assert not list(tmp_path.iterdir())
