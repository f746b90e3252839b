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
_ANSWER_SECONDS = 20.0  # all in all less than half a minute
_NO_TOKEN = "uthentication token"  # in Ray's message about a missing or wrong token
_MEMORY = 100_000_000  # bytes of shared memory for objects: a search passes only small ones

_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output can't be silenced
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_worker_niceness": "0",  # the default, 15, leaves a trial hardly any time beside other programs
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # runs write their own logs
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}

# For a cluster of this machine alone: nothing of it can be reached from outside.
_LOCAL_ENVIRONMENT = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray then uses 127.0.0.1, on Linux too
    "GLOO_SOCKET_IFNAME": "lo",  # the same for the ranks of a trial
}


@contextmanager
def connected(address: str, cpus: int) -> Iterator[None]:
    """Connect to a Ray cluster, or start one on this machine alone; at the end, disconnect from it or stop it.

    A cluster that is started here listens on 127.0.0.1, has its own token and gets no signals to the process group. The
    handler of SIGTERM, which Ray changes, is restored.

    Raises InputError, within half a minute, if no cluster answers at the address.
    """
    address = address or os.environ.get("RAY_ADDRESS", "")
    is_local = address in ("", "local")
    for name, value in (_ENVIRONMENT | (_LOCAL_ENVIRONMENT if is_local else {})).items():
        os.environ.setdefault(name, value)
    # Ray reads the variables about its token when it is imported.
    if is_local:
        _make_token()
    elif address != "auto":
        _refuse_unreachable(address)
    import ray

    on_sigterm = signal.getsignal(signal.SIGTERM)
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    try:
        if is_local:
            options |= {"include_dashboard": False, "object_store_memory": _MEMORY}
            with apart():
                ray.init(address="local", num_cpus=cpus or None, **options)
        else:
            # Workers on other machines do not inherit the environment of this process.
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
    """Turn token authentication on, unless $RAY_AUTH_MODE is set, with a new token if none is named.

    Every user of this machine can reach 127.0.0.1, but only the owner of the token can run something there. The token
    is in the environment, which other users can't read, and is gone after the search.
    """
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if os.environ["RAY_AUTH_MODE"] == "token" and "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def _refuse_unreachable(address: str) -> None:
    """Raise InputError if no Ray head answers there; Ray itself would wait much longer."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise InputError(f"--address is {address!r}, allowed is HOST:PORT, or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"--address {address}: nothing answers there ({error})") from None
    problem = _problem_with(address)
    if _NO_TOKEN in problem and "RAY_AUTH_MODE" not in os.environ:  # Ray uses no token without this variable
        os.environ["RAY_AUTH_MODE"] = "token"
        problem = _problem_with(address)
    if _NO_TOKEN in problem:
        raise InputError(
            f"--address {address}: the cluster needs its own token; copy the head's ~/.ray/auth_token to the same "
            "place here, or name a copy in RAY_AUTH_TOKEN_PATH"
        )
    if problem:
        raise InputError(f"--address {address}: no Ray head to use there ({problem})")


def _problem_with(address: str) -> str:
    """Result of Ray's own check of a head; empty: no problem. In a separate process, as Ray reads settings once."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        check = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_SECONDS)
    except subprocess.TimeoutExpired:
        raise InputError(f"--address {address}: no Ray head answers there within {_ANSWER_SECONDS:g} s") from None
    if check.returncode == 0:
        return ""
    lines = check.stderr.strip().splitlines() or ["no reason given"]
    return next((line for line in lines if _NO_TOKEN in line), lines[-1])  # without a token it aborts, with a stack


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
