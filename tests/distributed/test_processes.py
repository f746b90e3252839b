"""Processes that are started: which signals reach them, and where they listen."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

from ugts_dist.distributed.processes import apart, listening

LISTENS = "import socket\nserver = socket.create_server(('127.0.0.1', 0))\nprint(server.getsockname()[1], flush=True)\n"


def test_what_is_started_apart_has_a_session_of_its_own_and_takes_sigterm() -> None:
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        with apart():
            process = subprocess.Popen(["sleep", "60"])
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
    assert os.getsid(process.pid) == os.getpgid(process.pid) == process.pid
    process.terminate()
    assert process.wait(60.0) == -signal.SIGTERM
    after = subprocess.Popen(["sleep", "60"])
    assert os.getpgid(after.pid) == os.getpgrp()
    after.kill()
    after.wait()


def test_where_this_process_and_those_under_it_listen() -> None:
    code = f"{LISTENS}input()\n"
    parent = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {code!r}])"
    with (
        socket.create_server(("127.0.0.2", 0)) as own,
        socket.create_server(("::ffff:127.0.0.3", 0), family=socket.AF_INET6, dualstack_ipv6=True) as mapped,
        subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as below,
    ):
        assert below.stdout is not None
        port = int(below.stdout.readline())
        ports = listening()
        below.communicate(b"\n")
        assert ports["127.0.0.2"] == [own.getsockname()[1]]
        assert ports["127.0.0.3"] == [mapped.getsockname()[1]]
        assert port in ports["127.0.0.1"]
    assert "127.0.0.2" not in listening()
