"""`data.features` and the two switches that it replaced: files, options, searches and keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tuning.plan import list_trials
from tuning.space import parse_space
from ugts_dist import config_names
from ugts_dist.arguments import parse_train
from ugts_dist.checkpointing.identity import run_key
from ugts_dist.config import Config, load_preset, load_toml
from ugts_dist.errors import InputError

# data.row_normalize, data.standardize -> data.features, and the run's key by the version that had the switches
SWITCHES = {
    (True, False): ("auto", "52d1610483e065f6"),
    (True, True): ("standardize", "2ad5ab0214884fd6"),
    (False, True): ("standardize-raw", "a0b1552f59b8d6eb"),
    (False, False): ("none", "ef2348f6defee9ab"),
}
SPACE = """
[base]
preset = "digits"
[fields]
"data.standardize" = { grid = [false, true] }
[search]
kind = "grid"
dense = false
"""
NOTE = "ugts: data.{} is now data.features; the old name is still read"


@pytest.fixture(autouse=True)
def _first_time() -> Iterator[None]:
    """Notes are printed once a process; here once a test."""
    config_names._note_once.cache_clear()
    yield
    config_names._note_once.cache_clear()


@pytest.mark.parametrize("switches", SWITCHES)
def test_switches_are_read_and_the_key_stays(switches: tuple[bool, bool]) -> None:
    features, key = SWITCHES[switches]
    old = Config.from_dict({"data": dict(zip(("row_normalize", "standardize"), switches, strict=True))}, "")
    assert old == Config().replace({"data.features": features})
    assert run_key(old) == key
    held = old.portable()["data"]
    assert (held["row_normalize"], held["standardize"]) == switches
    assert "features" not in held
    assert list(held)[3:5] == ["row_normalize", "standardize"], "the order of the dictionary that tickets share"
    assert Config.from_dict({"data": held}, "") == old


def test_what_switches_can_not_say_has_a_key_of_its_own() -> None:
    config = Config().replace({"data.features": "row-normalize"})
    assert run_key(config) not in {key for _, key in SWITCHES.values()}
    assert Config.from_dict(config.portable(), "") == config


def test_presets_keep_their_keys() -> None:
    assert run_key(load_preset("digits")) == "5a3d800ea84c01be"
    assert run_key(load_preset("arxiv-structure-gcn")) == "37bb56615d1b84ee"


def test_one_switch_leaves_the_other() -> None:
    config = Config().replace({"data.row_normalize": False})
    assert config.replace({"data.standardize": True}).data.features == "standardize-raw"
    assert config.replace({"data.standardize": False}).data.features == "none"
    other = Config().replace({"data.features": "row-normalize"})
    assert other.replace({"data.standardize": False}) == other


def test_a_file_with_switches_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "old.toml").write_text("[data]\nrow_normalize = false\nstandardize = true\n")
    config = load_toml(tmp_path / "old.toml")
    assert sorted(capsys.readouterr().err.splitlines()) == [NOTE.format("row_normalize"), NOTE.format("standardize")]
    assert 'features = "standardize-raw"' in config.to_toml()
    assert "row_normalize" not in config.to_toml()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('standardize = true\nfeatures = "none"', "data.features replaces data.standardize; remove the old name"),
        ("standardize = 1", "data.standardize is 1, allowed is true or false"),
        (
            'features = "rows"',
            "data.features is 'rows', allowed are auto, standardize, standardize-raw, row-normalize, none",
        ),
    ],
)
def test_wrong_values_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text(f"[data]\n{text}\n")
    with pytest.raises(InputError) as caught:
        load_toml(tmp_path / "wrong.toml")
    assert str(caught.value) == f"{tmp_path / 'wrong.toml'}: {message}"


@pytest.mark.parametrize(
    ("args", "features"),
    [
        (["--data.standardize"], "standardize"),
        (["--data.no-standardize"], "auto"),
        (["--data.no-row-normalize", "--model.width", "8"], "none"),
        (["--preset", "digits"], "none"),
        (["--preset", "digits", "--data.standardize"], "standardize-raw"),
        (["--preset", "arxiv-structure-gcn", "--data.no-standardize"], "auto"),
        (["--data.features", "row-normalize"], "row-normalize"),
    ],
)
def test_old_options_change_the_preset(args: list[str], features: str) -> None:
    parsed = parse_train([*args, "--resume.override", "data.standardize"])
    assert parsed.run_config().data.features == features
    assert parsed.overridden == ("data.features",)
    assert ("data.features" in parsed.given) is any(arg.startswith("--data.") for arg in args)


def test_old_options_change_the_settings_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[data]\nfeatures = "none"\n')
    assert parse_train([str(tmp_path), "--data.standardize"]).run_config().data.features == "standardize-raw"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--data.standardize", "--data.features", "none"], "data.features replaces data.standardize; remove the old"),
        (["--data.standardize=False"], "unknown option --data.standardize"),
    ],
)
def test_wrong_options_are_refused(args: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_train(args)


def test_a_search_over_a_switch_is_the_same_search(capsys: pytest.CaptureFixture[str]) -> None:
    old = parse_space(SPACE, "old.toml", "old")
    assert old.hash == "3e9781e5df00bb4f"
    assert [trial.config.data.features for trial in list_trials(old)] == ["none", "standardize-raw"]
    assert capsys.readouterr().err.splitlines() == [NOTE.format("standardize")]
    new = parse_space(
        SPACE.replace("standardize", "features").replace("false, true", '"none", "standardize"'), "", "new"
    )
    assert [trial.config.data.features for trial in list_trials(new)] == ["none", "standardize"]
