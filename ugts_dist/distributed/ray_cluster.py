"""A Ray cluster: connected to by its address, or started on this machine alone."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ugts_dist.distributed.processes import apart
from ugts_dist.errors import InputError

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 20.0  # with the other, less than the half-minute after which people doubt
_NO_TOKEN = "uthentication token"  # in what Ray says where there is none, or another one
_MEMORY = 100_000_000  # bytes of shared memory for objects: a search passes only small ones

_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output can't be silenced
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_worker_niceness": "0",  # by default 15: beside any other program a trial would hardly get on
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # runs write their own logs
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}

# Of a cluster of this machine alone: nothing of it can be reached from outside.
_LOCAL_ENVIRONMENT = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray then takes 127.0.0.1, on Linux too
    "GLOO_SOCKET_IFNAME": "lo",  # the same for the ranks of a trial
}


@contextmanager
def connected(address: str, cpus: int) -> Iterator[None]:
    """Ray, connected to a cluster, or started on this machine alone; left, or stopped, at the end.

    Ray that is started here listens on 127.0.0.1 with a token of its own, and gets no signal that goes to the process
    group. What SIGTERM does, which Ray changes, is then as before.

    Raises InputError, within half a minute, where no cluster answers at the address.
    """
    address = address or os.environ.get("RAY_ADDRESS", "")
    here = address in ("", "local")
    for name, value in (_ENVIRONMENT | (_LOCAL_ENVIRONMENT if here else {})).items():
        os.environ.setdefault(name, value)
    # Ray reads what is said of its token when it is imported.
    if here:
        _make_token()
    elif address != "auto":
        _refuse_unreachable(address)
    import ray

    on_sigterm = signal.getsignal(signal.SIGTERM)
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    try:
        if here:
            options |= {"include_dashboard": False, "object_store_memory": _MEMORY}
            with apart():
                ray.init(address="local", num_cpus=cpus or None, **options)
        else:
            # The workers elsewhere do not inherit the environment of this process.
            ray.init(address=address, runtime_env={"env_vars": _ENVIRONMENT}, **options)
    except (ConnectionError, RuntimeError, ray.exceptions.RayError) as error:
        raise InputError(f"--address {address or 'local'}: no Ray cluster to use ({_first_line(error)})") from None
    try:
        yield
    finally:
        ray.shutdown()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)


def _make_token() -> None:
    """Turn token authentication on, unless $RAY_AUTH_MODE says otherwise, with a new token if none is named.

    Every user of this machine reaches 127.0.0.1, but only who has the token can run something there. The token is in
    the environment, which other users can't read, and is gone with the search.
    """
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if os.environ["RAY_AUTH_MODE"] == "token" and "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def _refuse_unreachable(address: str) -> None:
    """Whether a Ray head answers there; Ray itself would wait much longer."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise InputError(f"--address is {address!r}, allowed is HOST:PORT, or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"--address {address}: nothing answers there ({error})") from None
    problem = _problem_with(address)
    if _NO_TOKEN in problem and "RAY_AUTH_MODE" not in os.environ:  # Ray does not try a token that it was not told of
        os.environ["RAY_AUTH_MODE"] = "token"
        problem = _problem_with(address)
    if _NO_TOKEN in problem:
        raise InputError(
            f"--address {address}: the cluster wants its own token; copy the head's ~/.ray/auth_token to the same "
            "place here, or name a copy in RAY_AUTH_TOKEN_PATH"
        )
    if problem:
        raise InputError(f"--address {address}: no Ray head to use there ({problem})")


def _problem_with(address: str) -> str:
    """What Ray's own check of a head says; empty: all is well. In a process of its own, as Ray reads settings once."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        check = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_SECONDS)
    except subprocess.TimeoutExpired:
        raise InputError(f"--address {address}: no Ray head answers there within {_ANSWER_SECONDS:g} s") from None
    if check.returncode == 0:
        return ""
    lines = check.stderr.strip().splitlines() or ["no reason given"]
    return next((line for line in lines if _NO_TOKEN in line), lines[-1])  # where there is none it aborts, with a stack


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
