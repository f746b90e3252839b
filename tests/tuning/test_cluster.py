"""What a cluster holds, and clusters that are not there."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tuning.helpers import space
from tuning import cluster
from tuning.cluster import connected, trials_at_once
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


@pytest.fixture
def deaf() -> Iterator[int]:
    """A port where somebody listens and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_an_address_where_nothing_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(InputError, match=f"--address 127.0.0.1:{port}: nothing answers there"):
        connected(f"127.0.0.1:{port}", 0).__enter__()
    with pytest.raises(InputError, match="allowed is HOST:PORT, or auto"):
        connected("nowhere", 0).__enter__()


def test_an_address_where_something_else_is(deaf: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_ANSWER_SECONDS", 2.0)
    with pytest.raises(InputError, match=f"--address 127.0.0.1:{deaf}: no Ray head"):
        connected(f"127.0.0.1:{deaf}", 0).__enter__()


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


@pytest.mark.parametrize(
    ("given", "mode", "is_own"),
    [
        ({}, "token", True),
        ({"RAY_AUTH_TOKEN": "mine"}, "token", False),
        ({"RAY_AUTH_TOKEN_PATH": "token"}, "token", False),
        ({"RAY_AUTH_MODE": "disabled"}, "disabled", False),
    ],
)
def test_ray_of_this_machine_wants_a_token_unless_told_otherwise(
    given: dict[str, str], mode: str, is_own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", dict(given))
    monkeypatch.setattr("ray.init", lambda **options: pytest.fail(str(options["address"])))
    with pytest.raises(pytest.fail.Exception, match="local"):
        connected("", 0).__enter__()
    assert os.environ["RAY_AUTH_MODE"] == mode
    assert (len(os.environ.get("RAY_AUTH_TOKEN", "")) == 64) == is_own
    assert os.environ["GLOO_SOCKET_IFNAME"] == "lo"


@pytest.mark.parametrize(
    ("given", "wanted", "mode", "told"),
    [
        ({}, None, None, ""),
        ({}, "token", "token", ""),
        ({"RAY_AUTH_MODE": "token"}, "token", "token", ""),
        ({"RAY_AUTH_MODE": "disabled"}, "token", "disabled", "the cluster wants its own token"),
        ({}, "another token", "token", "the cluster wants its own token"),
    ],
)
def test_a_token_is_shown_to_a_cluster_that_wants_one(
    given: dict[str, str], wanted: str | None, mode: str | None, told: str, deaf: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def problem(address: str) -> str:
        shown = os.environ.get("RAY_AUTH_MODE")
        return "" if wanted in (None, shown) else "ray.exceptions.AuthenticationError: Authentication token is missing"

    monkeypatch.setattr(os, "environ", dict(given))
    monkeypatch.setattr(cluster, "_problem_with", problem)
    monkeypatch.setattr("ray.init", lambda **options: pytest.fail("connects"))
    with pytest.raises((pytest.fail.Exception, InputError), match=told or "connects"):
        connected(f"127.0.0.1:{deaf}", 0).__enter__()
    assert os.environ.get("RAY_AUTH_MODE") == mode
    assert "RAY_AUTH_TOKEN" not in os.environ


def test_a_storage_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can't be written"):
        tune(TuneOptions(space="digits", storage=str(tmp_path / "file")))
