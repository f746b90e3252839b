"""Own networks in the configuration: options, files, keys, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tuning.space import parse_space
from ugts_dist.arguments import parse_train
from ugts_dist.checkpointing.identity import run_key, with_absolute_paths
from ugts_dist.config import Config, load_toml
from ugts_dist.errors import InputError

OWN = Config.from_dict({"model": {"factory": "nets.py:build", "args": {"width": 64}}}, "")


def parsed(*args: str) -> Config:
    return parse_train(args).run_config()


def test_arguments_are_numbers_texts_and_signs() -> None:
    given = ("width=64", "rate=0.5", "wide=true", "norm=batch", "name=1e", "low=-3")
    expected = {"width": 64, "rate": 0.5, "wide": True, "norm": "batch", "name": "1e", "low": -3}
    model = parsed("--model.factory", "a.b:build", "--model.args", *given).model
    assert model.args == expected
    assert [type(value) for value in model.args.values()] == [type(value) for value in expected.values()]


def test_the_largest_numbers_are_read_again(tmp_path: Path) -> None:
    config = OWN.replace({"model.args.high": 2**63 - 1, "model.args.low": -(2**63)})
    (tmp_path / "own.toml").write_text(config.to_toml())
    assert load_toml(tmp_path / "own.toml") == config


def test_one_argument_changes_that_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(OWN.replace({"model.args.norm": "batch"}).to_toml())
    config = parsed("--config", str(tmp_path / "own.toml"), "--model.args.width", "8", "--model.args.wide-part=no")
    assert config.model.args == {"width": 8, "norm": "batch", "wide_part": "no"}
    assert load_toml(tmp_path / "own.toml").model.args == {"width": 64, "norm": "batch"}


def test_the_network_of_a_preset_is_replaced() -> None:
    config = parsed("--preset", "cora-gat", "--model.factory", "nets.py:build")
    assert config.model == Config.from_dict({"model": {"factory": "nets.py:build"}}, "").model
    assert config.model.depth == 0
    assert config.data.name == "cora"


def test_runs_of_built_in_networks_keep_keys_and_headers() -> None:
    assert not {"model.factory", "model.args"} & Config().determining().keys()
    assert not {"factory", "args"} & Config().portable()["model"].keys()
    keys = {run_key(config) for config in (Config(), OWN, OWN.replace({"model.args.width": 8}))}
    assert len(keys) == 3
    assert OWN.changes(Config())["model.args.width"] == (64, None)


def test_a_saved_network_has_no_folder_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = with_absolute_paths(OWN)
    assert config.model.factory == f"{tmp_path}/nets.py:build"
    assert config.portable()["model"]["factory"] == "nets.py:build"
    assert with_absolute_paths(OWN.replace({"model.factory": "a.b:build"})).model.factory == "a.b:build"
    assert config.model.title == "nets-build"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"factory": "nets"}, r"model.factory is nets, allowed is MODULE:FUNCTION or PATH/TO/FILE.py:FUNCTION"),
        ({"factory": "nets.py:"}, "model.factory is nets.py:, allowed is"),
        ({"factory": "a/b:build"}, "model.factory is a/b:build, allowed is"),
        ({"factory": "a:b", "width": 64}, "model.width is 64, allowed is 256 with model.factory, whose arguments are"),
        ({"factory": "a:b", "dropout": 0.5}, "model.dropout is 0.5, allowed is 0.0 with model.factory"),
        ({"factory": "a:b", "depth": -1}, "model.depth is -1, allowed is 0 to"),
        ({"factory": "a:b", "args": {"w": [1]}}, r"model.args.w is \[1\], allowed is a number, a text, true or false"),
        ({"factory": "a:b", "args": {"w": float("nan")}}, "model.args.w is nan, allowed is a number"),
        (
            {"factory": "a:b", "args": {"w": 10**30}},
            "model.args.w is a whole number of 100 bits, allowed is -2..63 to",
        ),
        ({"factory": "a:b", "args": {"w": -(2**63) - 1}}, "model.args.w is a whole number of 64 bits, allowed is"),
        ({"factory": "a:b", "args": {"w": 10**5000}}, "model.args.w is a whole number of 16610 bits, allowed is"),
        ({"factory": "a:b", "args": {"a b": 1}}, "model.args has 'a b', allowed are the names of arguments"),
        ({"factory": "a:b", "args": 3}, r"model.args is 3, allowed is a table \[model.args\]"),
        ({"args": {"w": 1}}, "allowed is nothing without model.factory"),
        ({"depth": 0}, "model.depth is 0, allowed is 1 to"),
    ],
)
def test_what_is_not_allowed_is_refused_in_a_line(model: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^mine: .*{message}") as refused:
        Config.from_dict({"model": model}, "mine")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--model.args", "w=" + "9" * 401),
            "model.args.w is a whole number of 1333 bits, allowed is -2..63 to",
        ),
        (("--model.args.w", "9" * 401), r"model.args.w is a whole number of 1333 bits, allowed is -2..63 to"),
        (("--model.args", "width"), "--model.args is width, allowed is NAME=VALUE"),
        (("--model.args.width",), "--model.args.width: a value is missing"),
        (("--model.args.width", "--run.epochs", "3"), "--model.args.width: a value is missing"),
        (("--model.args.width=3", "--model.args", "a=1"), "--model.args and --model.args.width: only one of them"),
    ],
)
def test_wrong_options_are_refused_in_a_line(options: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        parsed("--model.factory", "a:b", *options)


def test_a_search_varies_arguments() -> None:
    text = """
        [base.model]
        factory = "a.b:build"
        [fields]
        "model.args.width" = {log_uniform = [16, 256]}
        "model.args.norm" = {choice = ["batch", "none"]}
        [search]
        kind = "random"
        trials = 3
        dense = false
    """
    tickets = parse_space(text, "mine.toml", "mine").tickets
    config = tickets.config({"model.args.width": 16, "model.args.norm": "none"})
    assert config.model.args == {"width": 16, "norm": "none"}
    assert tickets.fields["model.args.width"].to_plain() == {"log_uniform": [16, 256]}
    with pytest.raises(InputError, match=r"model.args.width'.*log_uniform is \[0, 4\], allowed is a low end above 0"):
        parse_space(text.replace("[16, 256]", "[0, 4]"), "mine.toml", "mine")
