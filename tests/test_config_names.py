"""Renamed fields: every reader accepts their old names, says the new ones, and refuses both at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training.helpers import config
from tuning.space import Space, parse_space
from ugts_dist import config_names
from ugts_dist.arguments import parse_train
from ugts_dist.checkpointing import checkpoint
from ugts_dist.checkpointing.identity import run_key
from ugts_dist.config import Config, load_toml
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.supermask import Ticket
from ugts_dist.tickets.compare import compare
from ugts_dist.tickets.summary import summarise
from ugts_dist.training.run import run

OLD = """
[model]
depth = 2
[supermask]
floor = 0.25
[batch]
size = 64
fan_out = [5, 5]
parts = 2
"""
KEYS = {"default": "52d1610483e065f6", "floor": "b5fff92a9259c947", "space": "a507e3431d4a2fb7"}  # as they were
NOTES = [
    "ugts: batch.parts is now batch.micro_batches; the old name is still read",
    "ugts: supermask.floor is now supermask.min_layer_density; the old name is still read",
]
BOTH = "supermask.floor and supermask.min_layer_density are the same field; remove supermask.floor, its old name"


@pytest.fixture(autouse=True)
def _first_time() -> Iterator[None]:
    """Notes are printed once per process; here once per test."""
    config_names._note_once.cache_clear()
    yield
    config_names._note_once.cache_clear()


def test_a_file_with_old_names_is_read_and_noted_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "old.toml"
    file.write_text(OLD)
    for _ in range(2):
        loaded = load_toml(file)
        assert (loaded.supermask.min_layer_density, loaded.batch.micro_batches) == (0.25, 2)
    assert sorted(capsys.readouterr().err.splitlines()) == NOTES
    written = loaded.to_toml()
    assert "min_layer_density = 0.25" in written
    assert "floor" not in written


def test_only_the_main_rank_prints_notes(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    config_names.note_old_names(["supermask.floor"])
    assert capsys.readouterr().err == ""


def test_a_file_with_both_names_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "both.toml"
    file.write_text("[supermask]\nfloor = 0.2\nmin_layer_density = 0.3\n")
    with pytest.raises(InputError) as caught:
        load_toml(file)
    assert str(caught.value) == f"{file}: {BOTH}"


@pytest.mark.parametrize("joined", [True, False])
def test_old_options_are_read(joined: bool, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["--supermask.floor=0.25"] if joined else ["--supermask.floor", "0.25"]
    parsed = parse_train([*args, "--resume.override", "supermask.floor"])
    assert parsed.run_config().supermask.min_layer_density == 0.25
    assert parsed.given[0] == "supermask.min_layer_density"
    assert parsed.overridden == ("supermask.min_layer_density",)
    assert capsys.readouterr().err.splitlines() == [NOTES[1]]


def test_both_options_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        parse_train(["--supermask.floor=0.25", "--supermask.min-layer-density", "0.5"])
    assert str(caught.value) == BOTH


def test_a_run_keeps_its_key() -> None:
    """The keys that an earlier version gave to these configurations."""
    assert run_key(Config()) == KEYS["default"]
    assert run_key(Config().replace({"supermask.floor": 0.3})) == KEYS["floor"]
    assert run_key(Config().replace({"supermask.min_layer_density": 0.3})) == KEYS["floor"]


def test_a_saved_network_keeps_the_names_of_its_dictionary() -> None:
    held = Config().portable()
    assert "floor" in held["supermask"]
    assert "parts" in held["batch"]
    assert Config.from_dict(held, "") == Config()


def test_a_ticket_is_shown_and_compared_under_the_current_names(tmp_path: Path) -> None:
    tickets = []
    for density in (0.0, 0.5):
        settings = config(run__folder=str(tmp_path / str(density)), run__epochs=2)
        run(settings.replace({"supermask.min_layer_density": density}), Ranks())
        tickets.append(tmp_path / str(density) / "best.ticket")
    assert Ticket.load(tickets[1]).config["supermask"]["floor"] == 0.5
    assert summarise(Ticket.load(tickets[1]), tickets[1]).config["supermask"]["min_layer_density"] == 0.5
    one, other = map(Ticket.load, tickets)
    names = [difference.name for difference in compare(one, other, (tickets[0], tickets[1])).differences]
    assert "supermask.min_layer_density" in names
    assert "supermask.floor" not in names


@pytest.mark.parametrize("name", ["version-2", "version-3", "version-4"])
def test_an_older_ticket_is_read(name: str) -> None:
    held = Ticket.load(Path(__file__).parent / "tickets" / "stored" / f"{name}.ticket").config
    assert "floor" in held["supermask"]
    assert Config.from_dict(held, name).supermask.min_layer_density == held["supermask"]["floor"]


def test_an_older_checkpoint_is_read() -> None:
    held = checkpoint.read(Path(__file__).parent / "checkpointing" / "stored" / "step-00000057").config
    assert held["batch"]["parts"] == 1
    assert Config.from_dict(held, "").batch.micro_batches == 1


SPACE = """
[base]
preset = "digits"
[fields]
"supermask.sparsity" = [0.5, 0.9]
"{name}" = [0.0, 0.3]
[search]
kind = "grid"
dense = false
"""


def test_a_search_of_old_names_is_the_same_search(capsys: pytest.CaptureFixture[str]) -> None:
    old = parse_space(SPACE.format(name="supermask.floor"), "old.toml", "old")
    new = parse_space(SPACE.format(name="supermask.min_layer_density"), "new.toml", "new")
    assert old.tickets == new.tickets
    assert old.hash == new.hash == KEYS["space"]
    assert capsys.readouterr().err.splitlines() == [NOTES[1]]
    with pytest.raises(InputError, match=r"^both\.toml: \[fields\]: supermask\.floor and "):
        parse_space(
            SPACE.format(name="supermask.floor").replace("[search]", '"supermask.min_layer_density" = [0.1]\n[search]'),
            "both.toml",
            "both",
        )


SWITCHED = "ugts: log.tensorboard is now log.to; the old name is still read"


@pytest.mark.parametrize(("old", "new"), [(True, ("tensorboard",)), (False, ())])
def test_the_old_switch_of_tensorboard_is_a_list(
    old: bool, new: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "old.toml"
    file.write_text(f"[log]\ntensorboard = {str(old).lower()}\n")
    found = load_toml(file)
    assert found.log.to == new
    assert "to = [" in found.to_toml()
    assert "tensorboard =" not in found.to_toml()
    parsed = parse_train(["--preset", "digits", f"--log.{'' if old else 'no-'}tensorboard", "--model.width", "8"])
    assert parsed.run_config().log.to == new
    assert parsed.given == ("log.to", "model.width")
    assert Config().replace({"log.tensorboard": old}).log.to == new
    assert capsys.readouterr().err.splitlines() == [SWITCHED]


def test_both_ways_to_name_tensorboard_are_refused(tmp_path: Path) -> None:
    both = "log.tensorboard and log.to are the same field; remove log.tensorboard, its old name"
    file = tmp_path / "both.toml"
    file.write_text('[log]\ntensorboard = true\nto = ["wandb"]\n')
    with pytest.raises(InputError) as caught:
        load_toml(file)
    assert str(caught.value) == f"{file}: {both}"
    for switch in ("--log.tensorboard", "--log.no-tensorboard"):
        with pytest.raises(InputError) as caught:
            parse_train(["--log.to", "wandb", switch])
        assert str(caught.value) == both


def test_an_old_switch_is_true_or_false() -> None:
    with pytest.raises(InputError) as caught:
        Config.from_dict({"log": {"tensorboard": "yes"}}, "old.toml")
    assert str(caught.value) == ("old.toml: log.tensorboard is 'yes', allowed is true or false; its new name is log.to")


def test_loggers_change_neither_keys_nor_saved_networks() -> None:
    """A saved network holds what it held before there were other loggers, and nothing of an account."""
    logged = Config().replace({"log.to": ["wandb", "tensorboard"], "log.project": "secret"})
    assert run_key(logged) == KEYS["default"]
    assert logged.portable() == Config().portable()
    assert logged.portable()["log"] == {"progress": True, "every_seconds": 30.0, "tensorboard": True}
    assert Config().replace({"log.to": ["mlflow"]}).portable()["log"]["tensorboard"] is False


def with_field(line: str, name: str) -> Space:
    """The space above, with another field."""
    text = SPACE.format(name="supermask.floor").replace("[search]", f"{line}\n[search]")
    return parse_space(text, f"{name}.toml", name)


@pytest.mark.parametrize("value", ["false", "{grid = [false]}"])
def test_a_search_that_named_tensorboard_is_the_same_search(value: str) -> None:
    """The file of a search, and what a search wrote down to be resumed; the hash is that of an earlier version."""
    old, new = with_field(f'"log.tensorboard" = {value}', "old"), with_field('"log.to" = []', "new")
    assert old.tickets == new.tickets
    assert old.hash == new.hash == "81d5003dae45eafe"


@pytest.mark.parametrize(
    ("value", "message"),
    [("{grid = [true, false]}", "does not change a result"), ("3", "3, allowed is true or false; its new name is log")],
)
def test_a_wrong_switch_in_a_search_is_refused(value: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        with_field(f'"log.tensorboard" = {value}', "old")
