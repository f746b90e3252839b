"""What a cluster holds, and searches that it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tuning.helpers import space
from tuning.cluster import trials_at_once
from tuning.command import tune
from tuning.options import TuneOptions
from ugts_dist.errors import InputError


@pytest.mark.parametrize(
    ("nodes", "options", "wanted"),
    [
        ([{"CPU": 2.0}], {}, 2),
        ([{"CPU": 2.0}], {"workers": 2}, 1),
        ([{"CPU": 7.0}, {"CPU": 5.0}], {"workers": 2, "cpus": 2}, 2),  # 3 + 2 workers
        ([{"CPU": 64.0, "GPU": 8.0}] * 2, {"workers": 4, "cpus": 4, "gpus": 1.0}, 4),
        ([{"CPU": 64.0, "GPU": 1.0}], {"gpus": 0.5}, 2),
    ],
)
def test_trials_at_once(nodes: list[dict[str, float]], options: dict[str, Any], wanted: int) -> None:
    assert trials_at_once(nodes, space(**options).search, "space.toml") == wanted


def test_a_search_that_cannot_fit_is_refused_with_the_arithmetic() -> None:
    message = r"search.workers is 5, each with 2 CPU\(s\), but the cluster holds 4 such worker\(s\): 2 node\(s\)"
    with pytest.raises(InputError, match=message):
        trials_at_once([{"CPU": 4.0}, {"CPU": 5.0}], space(workers=5, cpus=2).search, "space.toml")
    with pytest.raises(InputError, match=r"and 1 GPU\(s\), but the cluster holds 0"):
        trials_at_once([{"CPU": 4.0}], space(gpus=1.0).search, "space.toml")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "exactly one of them is needed"),
        ({"space": "digits", "resume": "digits"}, "exactly one of them is needed"),
        ({"resume": "digits", "name": "other"}, "names the search already"),
        ({"space": "digits", "name": "../up"}, "allowed are letters"),
        ({"space": "digits", "cpus": -1}, "--cpus is -1"),
        ({"space": "digits", "cpus": 2, "address": "auto"}, "allowed is 0 with --address"),
    ],
)
def test_wrong_options(options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TuneOptions(**options)  # type: ignore[arg-type]


def test_a_storage_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can't be written"):
        tune(TuneOptions(space="digits", storage=str(tmp_path / "file")))
