"""Mistakes in a space: each refused in one line that names the file and the field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tuning.helpers import SMALL, space
from tuning.command import _refuse_combinations
from tuning.plan import list_dense, list_trials
from tuning.space import load_space, parse_space
from ugts_dist.errors import InputError

LR = '"optim.lr" = '


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('"supermask.sparsty" = {grid = [0.5]}', r"'supermask.sparsty' \(did you mean supermask.sparsity\?\)"),
        (LR + "{grid = []}", "'optim.lr': grid is empty"),
        (LR + "{uniform = [0.1, 0.01]}", "allowed is a low end below the high one"),
        (LR + "{uniform = [0.1, 0.1]}", "allowed is a low end below the high one"),
        (LR + "{log_uniform = [0.0, 0.1]}", "allowed is a low end above 0"),
        (LR + "{uniform = [0.1]}", "allowed are two numbers"),
        (LR + "{uniform = [0.1, inf]}", "allowed are two numbers"),
        (LR + "{normal = [0, 1]}", "allowed is a value or one of grid, choice"),
        (LR + "{grid = 0.1}", "allowed is a list"),
        (LR + "{grid = ['fast']}", "optim.lr is 'fast', allowed is a number"),
        (LR + "{grid = [0.1, -1.0]}", "with .*optim.lr = -1.*optim.lr is -1.0, allowed is above 0"),
        ('"model.depth" = {uniform = [1.5, 3]}', "two whole numbers"),
        ('"model.arch" = {uniform = [1, 3]}', "uniform is for numbers"),
        ('"model.depth" = {grid = [2.5]}', "model.depth is 2.5, allowed is a whole number"),
        ('"run.folder" = "here"', "can't be searched"),
        ('"log.to" = {grid = [["tensorboard"], []]}', "does not change a result"),
        ('"supermask.method" = {grid = ["ugts", "dense"]}', "allowed are tickets"),
        ('"supermask.method" = {grid = ["ugts", "foo"]}', "supermask.method is 'foo', allowed are ugts, "),
        ('"supermask.method" = 3', "supermask.method is 3, allowed are ugts, "),
        (
            '"model.arch" = "gat"\n"model.heads" = {grid = [1, 3]}',
            "model.heads is 3, allowed is a divisor of the width",
        ),
    ],
)
def test_a_wrong_field_is_named(line: str, message: str) -> None:
    kept = [old for old in SMALL.splitlines() if old.partition(" =")[0] != line.partition(" =")[0]]
    text = "\n".join(kept).replace("[fields]", f"[fields]\n{line}")
    kind = {"kind": "random", "trials": 4} if "uniform" in line else {}
    with pytest.raises(InputError, match=message) as error:
        _refuse_combinations(space(text, **kind))
    assert str(error.value).startswith("space.toml")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "random"}, "search.trials is 0, allowed is 1 or more"),
        ({"trials": 3}, "search.trials is 3, allowed is 0 for a grid"),
        ({"kind": "bayes"}, "search.kind is 'bayes', allowed are grid, random, optuna"),
        ({"workers": 0}, "search.workers is 0, allowed is 1 or more"),
        ({"workers": 1.5}, "search.workers is 1.5, allowed is a whole number"),
        ({"margin": -0.5}, "search.margin is -0.5, allowed is 0 or more, or -1"),
        ({"sheduler": "asha"}, r"unknown field in \[search\] 'sheduler' \(did you mean scheduler\?\)"),
        ({"warm_start": True, "scheduler": "asha"}, "search.scheduler is asha, allowed is none"),
    ],
)
def test_a_wrong_option_of_the_search_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        space(**options)


def test_an_interval_is_not_for_a_grid() -> None:
    with pytest.raises(InputError, match=r"'optim.lr' is an interval, allowed is a list for kind grid"):
        space(SMALL.replace("{grid = [0.01, 0.05]}", "{uniform = [0.01, 0.05]}"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[base", "cannot be read as a space"),
        ("[bass]", r"unknown section 'bass' \(did you mean base\?\)"),
        ('[base]\npreset = "nothing"', "--preset nothing: unknown"),
        ('[base]\nconfig = "missing.toml"', "missing.toml: cannot be read"),
        ('[base]\npreset = "digits"\nconfig = "c.toml"', "allowed is a preset or a config"),
        ("fields = 3", r"fields is 3, allowed is a section \[fields\]"),
        ('[dense.fields]\n"optim.lr" = {uniform = [0.1, 0.2]}', "allowed are single values and grid"),
        ('[search]\ndense = false\n[dense]\npreset = "digits"', "search.dense is False, but there is a section"),
    ],
)
def test_a_wrong_file_is_named(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        parse_space(text, "space.toml", "space")
    assert str(error.value).startswith("space.toml")


def test_a_space_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"did you mean digits\?"):
        load_space("digit")
    with pytest.raises(InputError, match="cannot be read as a space"):
        load_space(str(tmp_path / "nothing.toml"))


def test_what_a_worker_gets_does_not_make_another_space() -> None:
    assert space(cpus=2, failures=9).hash == space().hash
    assert space(objective="sparsity").hash == space().hash != space(objective="bytes").hash
    assert len({space().hash, space(workers=2).hash, space(seeds=3).hash, space(margin=0.1).hash}) == 4


def test_a_space_in_a_file_means_the_same_data_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the files that a search writes: its space, and the configurations of its runs and of its answer."""
    text = """
        [base.data]
        name = "./mine"
        root = "raw"
        [fields]
        "data.name" = {grid = ["./mine", "digits", "stores/other"]}
        "run.spill" = "spilled"
        "optim.lr" = {grid = [0.1, 0.01]}
    """
    (tmp_path / "s.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    space = load_space("s.toml")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    names = {str(tmp_path / "mine"), "digits", str(tmp_path / "stores/other")}
    again = parse_space(space.to_toml(), "s.toml", "s")
    assert again.hash == space.hash
    configs = [trial.run_config(Path("/runs")) for trial in (*list_trials(again), *list_dense(again))]
    assert {config.data.name for config in configs} == names
    assert {(config.data.root, config.run.spill) for config in configs} == {
        (str(tmp_path / "raw"), str(tmp_path / "spilled"))
    }
    assert load_space(str(tmp_path / "s.toml")).hash != space.hash, "paths are relative to where a person is"
