"""Which space is searched, under which name and for which objective."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tuning.helpers import SMALL
from tuning.command import searched
from tuning.manifest import open_search
from tuning.options import TuneOptions
from ugts_dist.errors import InputError


def test_the_objective_is_the_spaces_or_the_one_that_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "small.toml"
    file.write_text(SMALL)
    told = {objective: searched(TuneOptions(str(file), objective=objective)) for objective in ("auto", "bytes")}
    assert {objective: (space.search.objective, name) for objective, (space, name) in told.items()} == {
        "auto": ("sparsity", "small"),
        "bytes": ("bytes", "small-bytes"),
    }
    file.write_text(SMALL + 'objective = "bytes"\n')
    space, name = searched(TuneOptions(str(file), name="mine"))
    assert (space.search.objective, name) == ("bytes", "mine")
    assert space.hash == told["bytes"][0].hash


def test_a_search_that_goes_on_keeps_its_objective(tmp_path: Path) -> None:
    space, name = searched(TuneOptions("digits", objective="bytes"))
    with open_search(tmp_path / name, space):
        pass
    again, same = searched(TuneOptions(resume=name, storage=str(tmp_path)))
    assert (again.search.objective, same, again.hash) == ("bytes", "digits-bytes", space.hash)
    with pytest.raises(InputError, match="--objective is bytes, but --resume digits-bytes has its own"):
        TuneOptions(resume=name, objective="bytes")
