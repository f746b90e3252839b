"""Clusters that do not exist, and the tokens of those that do."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from ugts_dist.distributed import ray_cluster
from ugts_dist.distributed.ray_cluster import connected
from ugts_dist.errors import InputError


@pytest.fixture
def deaf() -> Iterator[int]:
    """A port on which a process listens without ever answering."""
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
    monkeypatch.setattr(ray_cluster, "_ANSWER_SECONDS", 2.0)
    with pytest.raises(InputError, match=f"--address 127.0.0.1:{deaf}: no Ray head"):
        connected(f"127.0.0.1:{deaf}", 0).__enter__()


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
        ({"RAY_AUTH_MODE": "disabled"}, "token", "disabled", "the cluster needs its own token"),
        ({}, "another token", "token", "the cluster needs its own token"),
    ],
)
def test_a_token_is_shown_to_a_cluster_that_wants_one(
    given: dict[str, str], wanted: str | None, mode: str | None, told: str, deaf: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def problem(address: str) -> str:
        shown = os.environ.get("RAY_AUTH_MODE")
        return "" if wanted in (None, shown) else "ray.exceptions.AuthenticationError: Authentication token is missing"

    monkeypatch.setattr(os, "environ", dict(given))
    monkeypatch.setattr(ray_cluster, "_problem_with", problem)
    monkeypatch.setattr("ray.init", lambda **options: pytest.fail("connects"))
    with pytest.raises((pytest.fail.Exception, InputError), match=told or "connects"):
        connected(f"127.0.0.1:{deaf}", 0).__enter__()
    assert os.environ.get("RAY_AUTH_MODE") == mode
    assert "RAY_AUTH_TOKEN" not in os.environ
