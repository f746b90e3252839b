from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from numpy.typing import NDArray

from tests.graphs.helpers import npz_arrays, write_npz
from ugts_dist import Ticket, sparsify
from ugts_dist.cli import COMMANDS, main
from ugts_dist.config import Config
from ugts_dist.tensor_file import write_tensor_file
from ugts_dist.tickets.options import TICKET_COMMANDS

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and nothing of the user's own in the environment."""
    path = tmp_path_factory.mktemp("work")
    monkeypatch.chdir(path)
    monkeypatch.delenv("UGTS_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    return path


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], folder: Path) -> Callable[..., str]:
    """Run the program on a mistake, and check what all complaints share. Returns the one line."""

    def run(*args: str) -> str:
        before = sorted(folder.rglob("*"))
        with pytest.raises(SystemExit) as stop:
            main(list(args))
        shown = capsys.readouterr()
        assert stop.value.code == 2, shown.err
        assert shown.err.startswith("ugts: ")
        assert shown.err.endswith("\n")
        assert shown.err.count("\n") == 1
        assert shown.out == ""
        assert sorted(folder.rglob("*")) == before, "something was written"
        return shown.err

    return run


def succeed(capsys: pytest.CaptureFixture[str], *args: str) -> list[str]:
    """Run the program. Returns the lines that it printed."""
    main(list(args))
    return capsys.readouterr().out.splitlines()


# Mistakes on the command line


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("trian", "unknown command 'trian' (did you mean train?); allowed are train, evaluate"),
        ("--preset digits", "unknown command '--preset'"),
        ("train --preset cora-gnc", "--preset cora-gnc: unknown (did you mean cora-gcn?); allowed are "),
        ("train --preset digit", "--preset digit: unknown (did you mean digits?); allowed are "),
        ("train --preset", "--preset: a value is missing"),
        ("train --preset digits --config c.toml", "--preset and --config: only one of them is allowed"),
        ("train --config none.toml", "none.toml: cannot be read as a configuration"),
        ("train --model.dept 3", "unknown option --model.dept (did you mean --model.depth?); `ugts train --help-all`"),
        ("train --modle.depth 3", "unknown option --modle.depth (did you mean --model.depth?)"),
        ("train --sparsity 0.5", "unknown option --sparsity (did you mean --supermask.sparsity?)"),
        ("train --lr 0.5", "unknown option --lr (did you mean --optim.lr?)"),
        ("train --nothing 0.5", "unknown option --nothing; `ugts train --help-all` lists all"),
        ("train extra", "extra: not the folder of a run"),
        ("train --preset digits extra", "unexpected argument 'extra'"),
        ("train --supermask.sparsity", "--supermask.sparsity: a value is missing"),
        ("train --supermask.rescale no", "--supermask.rescale takes no value, but 'no' follows it; allowed are "),
        ("train --supermask.sparsity 1.0", "supermask.sparsity is 1.0, allowed is [0, 1)"),
        ("train --supermask.sparsity -0.1", "supermask.sparsity is -0.1, allowed is [0, 1)"),
        ("train --supermask.sparsity nan", "supermask.sparsity is nan, allowed is [0, 1)"),
        ("train --supermask.sparsity half", "--supermask.sparsity is 'half', allowed is a number"),
        ("train --supermask.method ugt", "--supermask.method is 'ugt', allowed are 'ugts', 'edge-popup', "),
        ("train --model.depth 0", "model.depth is 0, allowed is 1 to 10000"),
        ("train --model.depth 1.5", "--model.depth is '1.5', allowed is a whole number"),
        ("train --model.width 0", "model.width is 0, allowed is 1 to 1048576"),
        ("train --model.arch transformer", "--model.arch is 'transformer', allowed are 'gcn', "),
        ("train --batch.fan-out a b", "--batch.fan-out is ['a', 'b'], allowed are numbers"),
        (f"train --run.seed {10**20}", "run.seed is 100000000000000000000, allowed is 0 to "),
        (f"train --model.width {10**20}", "model.width is 100000000000000000000, allowed is 1 to 1048576"),
        ("train --model.width " + "9" * 5000, "--model.width is too large, allowed is a whole number of 64 bits"),
        ("train --model.arch gat --model.heads 3", "model.heads is 3, allowed is a divisor of the width 256"),
        ("train --optim.lr 0", "optim.lr is 0.0, allowed is above 0"),
        ("train --batch.size 64", "batch.fan_out is [], allowed is one number a layer (2)"),
        ("train --preset digits --batch.fan-out 10", "batch.fan_out is [10], allowed is one number a layer (2)"),
        ("train --preset digits --model.depth 3", "batch.fan_out is [10, 10], allowed is one number a layer (3)"),
        ("train --batch.fan-out 10 10", "batch.fan_out is [10, 10], allowed is nothing"),
        ("train --run.epochs 0", "run.epochs is 0, allowed is 1 to 10000000"),
        ("train --run.seed 9223372036854775808", "run.seed is 9223372036854775808, allowed is 0 to "),
        ("train --data.name corra", "data.name: 'corra' is not a dataset (did you mean cora?)"),
        ("train --data.name texas --data.split 10", "data.split: 10 is not a split of texas"),
        ("presets cora-gnc", "unknown preset 'cora-gnc' (did you mean cora-gcn?)"),
        ("presets cora-gcn cora-gat", "unexpected argument 'cora-gat'"),
        ("evaluate", "missing from ugts evaluate: TICKET A .ticket file"),
        ("evaluate none.ticket", "none.ticket: no such file"),
        ("evaluate . --root", "--root"),
        ("evaluate none.ticket --device tpu", "tpu"),
        ("evaluate .", ".: no best.ticket or best.safetensors in this folder"),
        ("predict", "missing from ugts predict: TICKET A .ticket file"),
        ("predict a.ticket", "missing from ugts predict: --out STR"),
        ("predict none.ticket --out a.parquet", "none.ticket: no such file"),
        ("predict . --out a.parquet", ".: no best.ticket or best.safetensors in this folder"),
        ("predict none.ticket --out none/a.parquet", "--out is none/a.parquet, but none is no folder"),
        ("predict a.ticket --out a --timeout 0", "--timeout is 0.0, allowed is above 0"),
        ("predict none.ticket --out .", "--out is ., which exists; allowed is a new file"),
        ("ticket", "expected one of {show, diff, export}"),
        ("ticket shwo a.ticket", "unknown command ticket 'shwo' (did you mean show?); allowed are show, diff, export"),
        ("ticket show", "missing from ugts ticket show: FILE A .ticket file"),
        ("ticket show a.ticket --jsn", "--jsn (did you mean --json?)"),
        ("ticket show none.ticket", "none.ticket: no such file"),
        ("ticket show .", ".: no best.ticket in this folder"),
        ("ticket diff a.ticket", "missing from ugts ticket diff: B"),
        ("ticket diff none.ticket none.ticket", "none.ticket: no such file"),
        ("ticket export a.ticket --format csr", "missing from ugts ticket export: --out STR"),
        ("ticket export a.ticket --format pt --out a", "--format is 'pt', allowed are 'state-dict', "),
        ("ticket export none.ticket --format csr --out a", "none.ticket: no such file"),
    ],
)
def test_a_mistake_is_told_in_one_line(refused: Callable[..., str], args: str, message: str) -> None:
    assert message.lower() in refused(*args.split()).lower()


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_mistake_without_standard_input_in_any_encoding(folder: Path, encoding: str) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", sys.executable, "-m", "ugts_dist", "train", "--model.dept", "3"],
        env=os.environ | {"PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert (
        done.stderr
        == "ugts: unknown option --model.dept (did you mean --model.depth?); `ugts train --help-all` lists all\n"
    )
    assert not list(folder.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="only where there is no GPU")
def test_a_gpu_that_is_not_there(refused: Callable[..., str]) -> None:
    assert "device is cuda" in refused("train", "--run.device", "cuda")


def test_an_existing_folder_is_left_alone(refused: Callable[..., str], folder: Path) -> None:
    (folder / "mine").mkdir()
    (folder / "mine" / "note.txt").write_text("mine")
    (folder / "file").write_text("mine")
    for name in ("mine", "file", "."):
        assert f"run.folder is {name}, which exists; allowed is a new folder" in refused("train", "--run.folder", name)
    assert (folder / "mine" / "note.txt").read_text() == "mine"


def test_a_folder_that_can_not_be_made(refused: Callable[..., str], folder: Path) -> None:
    (folder / "file").write_text("mine")
    assert "run.folder is file/run, which can't be created" in refused("train", "--run.folder", "file/run")


def test_mistakes_in_a_configuration_file(refused: Callable[..., str], folder: Path) -> None:
    (folder / "c.toml").write_text("[model]\ndepht = 3\n")
    assert "c.toml: unknown field in [model] 'depht' (did you mean depth?)" in refused("train", "--config", "c.toml")
    (folder / "c.toml").write_text("[supermask]\nsparsity = 1.0\n")
    assert "supermask.sparsity is 1.0, allowed is [0, 1)" in refused("train", "--config", "c.toml")
    (folder / "c.toml").write_text("]")
    assert "c.toml: cannot be read as a configuration" in refused("train", "--config", "c.toml")


# Mistakes in the data


@pytest.mark.parametrize("name", ["cora", "texas", "amazon-photo"])
def test_missing_data_files(
    refused: Callable[..., str], folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "empty").mkdir()
    monkeypatch.setenv("UGTS_DATA", "empty")
    assert f"UGTS_DATA: {name} needs " in refused("train", "--data.name", name)
    assert f"data.root: {name} needs " in refused("train", "--data.name", name, "--data.root", str(folder / "none"))


def _nan_features(arrays: dict[str, NDArray[Any]]) -> None:
    arrays["attr_data"][3] = np.nan


def _infinite_features(arrays: dict[str, NDArray[Any]]) -> None:
    arrays["attr_data"][3] = -np.inf


def _label_out_of_range(arrays: dict[str, NDArray[Any]]) -> None:
    arrays["labels"][5] = 1000


def _no_test_nodes(arrays: dict[str, NDArray[Any]]) -> None:
    arrays["labels"] = np.repeat(np.arange(4), [50, 60, 60, 70])


def _too_few_labels(arrays: dict[str, NDArray[Any]]) -> None:
    arrays["labels"] = arrays["labels"][:-1]


def _edge_out_of_range(arrays: dict[str, NDArray[Any]]) -> None:
    arrays["adj_indices"][0] = 240


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (_nan_features, "amazon-photo: x has nan at node "),
        (_infinite_features, "amazon-photo: x has -inf at node "),
        (_label_out_of_range, "amazon-photo: y has 0 nodes of class 3"),
        (_no_test_nodes, "amazon-photo: y has 50 nodes of class 0; allowed: at least 51"),
        (_too_few_labels, "do not fit together"),
        (_edge_out_of_range, "amazon_electronics_photo.npz: cannot be read"),
    ],
)
def test_faulty_data(
    refused: Callable[..., str],
    tmp_path: Path,
    fault: Callable[[dict[str, NDArray[Any]]], None],
    message: str,
) -> None:
    arrays = npz_arrays()
    fault(arrays)
    write_npz(tmp_path / "amazon/Photo/raw/amazon_electronics_photo.npz", arrays)
    assert message in refused("train", "--data.name", "amazon-photo", "--data.root", str(tmp_path))


def test_a_truncated_data_file(refused: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "amazon/Photo/raw/amazon_electronics_photo.npz"
    write_npz(path)
    path.write_bytes(path.read_bytes()[:-50])
    message = refused("train", "--data.name", "amazon-photo", "--data.root", str(tmp_path))
    assert "amazon_electronics_photo.npz: cannot be read" in message


# Mistakes in what is evaluated


@pytest.mark.parametrize("name", ["a.ticket", "a.safetensors", "a"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"\0" * 1000])
def test_garbage_is_not_evaluated(refused: Callable[..., str], folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    assert name in refused("evaluate", name)
    (folder / "run").mkdir()
    shutil.copy(name, folder / "run" / "best.ticket")
    assert "run/best.ticket" in refused("evaluate", "run")


def test_tickets_that_are_not_of_this_programs_networks(refused: Callable[..., str], folder: Path) -> None:
    ticket = Ticket.of(sparsify(torch.nn.Linear(3, 3)), Config().to_dict())
    ticket.save(folder / "a.ticket")
    assert "a.ticket: does not fit the network that it describes" in refused("evaluate", "a.ticket")
    ticket.config = {"model": {"dept": 2}}
    ticket.save(folder / "a.ticket")
    assert "a.ticket: unknown field in [model] 'dept'" in refused("evaluate", "a.ticket")


@pytest.mark.parametrize(
    "header", [None, {"dense": "{"}, {"dense": "{}"}, {"dense": "[]"}, {"dense": '{"config": {}}'}]
)
def test_safetensors_that_are_not_of_this_program(
    refused: Callable[..., str], folder: Path, header: dict[str, str] | None
) -> None:
    safetensors.torch.save_file({"w": torch.zeros(2)}, folder / "a.safetensors", header)
    assert "a.safetensors: " in refused("evaluate", "a.safetensors")


def test_a_dense_network_of_another_shape(refused: Callable[..., str], folder: Path) -> None:
    header = {"config": {}, "metrics": {"valid": 0.0, "test": 0.0, "sparsity": 0.0}}
    write_tensor_file(folder / "a.safetensors", {"w": torch.zeros(2)}, header, "dense")
    assert "a.safetensors: does not fit the network that it describes" in refused("evaluate", "a.safetensors")


# Help


@pytest.mark.parametrize(
    "args",
    [
        ["--help"],
        ["-h"],
        *([name, "--help"] for name in COMMANDS),
        *(["ticket", name, "--help"] for name in TICKET_COMMANDS),
    ],
)
def test_help_is_a_success(capsys: pytest.CaptureFixture[str], folder: Path, args: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(args)
    shown = capsys.readouterr()
    assert stop.value.code in (0, None)
    assert "usage" in shown.out
    assert shown.err == ""
    assert not list(folder.iterdir())


def test_no_command_shows_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)


# From end to end


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_train_evaluate_and_train_again(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    lines = succeed(capsys, "train", "--preset", "digits", "--run.epochs", "3")
    (first,) = (folder / "runs").iterdir()
    assert {"config.toml", "metrics.jsonl", "result.json", "best.ticket"} <= {path.name for path in first.iterdir()}
    hidden = [path.name for path in first.rglob("*") if path.name.startswith(".")]
    assert hidden == [".lock"], "temporary files are left"
    result = json.loads((first / "result.json").read_text())
    recorded = metrics(first)
    assert [line["epoch"] for line in recorded] == [0, 1, 2]
    assert recorded[result["epoch"]]["test"] == result["test"]
    assert recorded[-1]["test"] == result["test_last"]
    assert result["bytes"] == (first / "best.ticket").stat().st_size
    assert lines[-1].startswith(f"test accuracy {result['test']:.3f} at sparsity 0.9000")
    assert f"run folder runs/{first.name}" in lines

    # The network that is rebuilt from the ticket is as good as the one that was found.
    for path in (first, first / "best.ticket"):
        lines = succeed(capsys, "evaluate", str(path))
        assert lines[-1] == f"test accuracy {result['test']:.4f}"
        assert f"sparsity 0.9000, validation accuracy {result['valid']:.4f}" in lines

    # Another process, without standard input, finds the same from the configuration in the folder of the first.
    command = [sys.executable, "-m", "ugts_dist", "train", "--config", str(first / "config.toml")]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *command],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    (second,) = (path for path in (folder / "runs").iterdir() if path != first)
    assert (second / "metrics.jsonl").read_bytes() == (first / "metrics.jsonl").read_bytes()
    assert (second / "best.ticket").read_bytes() == (first / "best.ticket").read_bytes()
    assert done.stdout.splitlines()[-1].startswith("test accuracy ")


def test_options_override_a_preset(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    changes = ["--run.epochs", "1", "--model.width", "16", "--batch.fan-out", "3", "2", "--run.folder", "out/here"]
    succeed(capsys, "train", "--preset", "digits", "--supermask.sparsity", "0.5", *changes)
    ticket = Ticket.load(folder / "out/here/best.ticket")
    assert ticket.config["model"]["width"] == 16
    assert ticket.config["batch"]["fan_out"] == [3, 2]
    assert ticket.sparsity == pytest.approx(0.5, abs=1e-3)
    data = {"name": "digits", "root": "", "split": 0, "row_normalize": False}
    assert ticket.config["data"].items() >= data.items()


def test_a_dense_network_is_saved_and_evaluated(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    changes = ["--run.epochs", "2", "--model.width", "16", "--run.folder", "dense", "--log.to"]
    succeed(capsys, "train", "--preset", "digits", "--supermask.method", "dense", *changes)
    result = json.loads((folder / "dense/result.json").read_text())
    assert succeed(capsys, "evaluate", "dense")[-1] == f"test accuracy {result['test']:.4f}"


def test_a_network_that_can_not_be_calibrated(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["train", "--preset", "digits", "--supermask.calibrate-at", "0.9999"])
    assert stop.value.code == 2
    told = capsys.readouterr().err.splitlines()  # the folder, which exists by then and is removed, and the reason
    assert len(told) == 2
    assert told[-1].startswith("ugts: calibration: ")


def test_a_ticket_of_the_library_has_no_configuration(refused: Callable[..., str], tmp_path: Path) -> None:
    mask = sparsify(torch.nn.Linear(3, 2))
    Ticket.of(mask).save(tmp_path / "a.ticket")
    assert "without a configuration" in refused("evaluate", str(tmp_path / "a.ticket"))


@pytest.mark.parametrize("args", [["--help"], ["train", "--help"], ["ticket", "--help"]])
def test_a_reader_that_has_seen_enough_ends_it_without_a_word(args: list[str]) -> None:
    """The reader ends before the first line, as `head` does before the last one."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "ugts_dist", *args]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=120)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_what_newer_versions_of_torch_say_of_pyg_is_not_shown() -> None:
    code = "import warnings, ugts_dist.cli; warnings.warn('`torch.jit.script` is deprecated.', FutureWarning)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
