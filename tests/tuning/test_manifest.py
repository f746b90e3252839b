"""A search's record of its trials survives damage, and belongs to one space and one process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.trials.small import store, trained
from tests.tuning.helpers import SMALL, space
from tuning.manifest import Manifest, open_search, space_of
from tuning.plan import list_trials
from ugts_dist.errors import InputError


def test_states_are_there_again(tmp_path: Path) -> None:
    trials = list_trials(space())
    with open_search(tmp_path, space()) as manifest:
        manifest.add(trials)
        manifest.change(trials[0].key, "stopped")
        manifest.change(trials[1].key, "failed", "the loss is nan")
        manifest.change(trials[2].key, "running")
    with open_search(tmp_path, space()) as again:
        again.add(trials)
        assert [again.state(trial.key) for trial in trials] == ["stopped", "failed", "waiting", "waiting"]
        assert again.message(trials[1].key) == "the loss is nan"


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"space": "other", "trials": {}}', '{"trials": {"a": {}}}'])
def test_a_damaged_manifest_is_made_anew_from_the_runs(tmp_path: Path, text: str | None) -> None:
    trials = list_trials(space())
    with open_search(tmp_path, space()) as manifest:
        manifest.add(trials)
    (tmp_path / "runs" / trials[1].key).mkdir()
    (tmp_path / "runs" / trials[1].key / "result.json").write_text('{"path": "best.ticket"}')
    file = tmp_path / "manifest.json"
    file.unlink() if text is None else file.write_text(text)
    with open_search(tmp_path, space()) as again:
        again.add(trials)
        assert [again.state(trial.key) for trial in trials] == ["waiting", "finished", "waiting", "waiting"]
    assert json.loads(file.read_text())["space"] == space().hash


def test_another_space_is_refused(tmp_path: Path) -> None:
    with open_search(tmp_path, space()):
        pass
    other = space(SMALL.replace("[0.01, 0.05]", "[0.01, 0.02]"))
    with pytest.raises(InputError, match=r"another space than space.toml \(fields: optim.lr was"):
        open_search(tmp_path, other).__enter__()
    assert space_of(tmp_path).hash == space().hash


def test_one_process_has_a_search(tmp_path: Path) -> None:
    with (
        open_search(tmp_path, space()),
        pytest.raises(InputError, match="is run by process"),
        open_search(tmp_path, space()),
    ):
        pass


def test_a_storage_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--storage: .* can't be written"):
        open_search(tmp_path / "file" / "small", space()).__enter__()


def test_a_search_that_is_not_there(tmp_path: Path) -> None:
    with open_search(tmp_path / "mine", space()):
        pass
    with pytest.raises(InputError, match="--resume yours: no such search; allowed are mine"):
        space_of(tmp_path / "yours")


def test_finished_runs_on_other_data_are_refused(tmp_path: Path) -> None:
    data = store(tmp_path / "data")
    trained(data, tmp_path / "search/runs/0123456789abcdef")
    with open_search(tmp_path / "search", space()):
        pass
    store(data, x=lambda x: x * 2)
    with pytest.raises(InputError, match=r"on other data, features differ .* or another --name") as error:
        open_search(tmp_path / "search", space()).__enter__()
    assert "\n" not in str(error.value)


def test_a_damaged_result_is_named(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path, "hash")
    (manifest.runs / "key").mkdir(parents=True)
    assert manifest.result("key") is None
    (manifest.runs / "key" / "result.json").write_text("{")
    with pytest.raises(InputError, match=r"result.json: damaged"):
        manifest.result("key")
