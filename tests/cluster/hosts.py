"""Hosts on one machine: namespaces with processes, a name, a network and a local disk of their own, on one bridge.

Nothing of them is outside: the bridge lies in a namespace too, and all of it is gone as soon as the process that made
it ends, however that happens, since the first process of each namespace reads a pipe from it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
LOCAL = Path("/mnt")
"""A disk of each host's own; everything else is shared by all."""

_INTERFACE = "eth0"


@dataclass(frozen=True)
class Host:
    """One of the hosts.

    Attributes:
        first: the number, outside, of the process that all others of the host end with.
        port: the end of its cable at the bridge.
    """

    name: str
    address: str
    first: int
    switch: int
    port: str

    def start(
        self, command: Sequence[str | Path], log: Path, folder: Path, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a command on the host, in a folder, with additions to its environment; it prints to `log`."""
        given = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": _INTERFACE, "PYTHONPATH": str(ROOT)}
        pairs = [f"{name}={value}" for name, value in {**given, **(environment or {})}.items()]
        with open(log, "ab") as file:
            enter = ["nsenter", "--target", str(self.first), "--all", "env", f"--chdir={folder}", *pairs]
            return subprocess.Popen([*enter, *map(str, command)], stdin=subprocess.DEVNULL, stdout=file, stderr=file)

    def run(
        self,
        command: Sequence[str | Path],
        folder: Path = ROOT,
        environment: Mapping[str, str] | None = None,
        bound: float = 120.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end. Returns its output and its exit code."""
        log = folder / f".{self.name}-{time.monotonic_ns()}.log"
        try:
            process = self.start(command, log, folder, environment)
            try:
                process.wait(bound)
            finally:
                process.kill()
            return subprocess.CompletedProcess([], process.returncode, log.read_text(errors="replace"))
        finally:
            log.unlink(missing_ok=True)

    def processes(self, chosen: Callable[[Path], bool]) -> list[int]:
        """The ids, outside the host, of its processes whose folder in /proc is chosen."""
        mine = os.readlink(f"/proc/{self.first}/ns/pid")
        listed = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):  # it has ended since
                    if os.readlink(entry / "ns/pid") == mine and chosen(entry):
                        listed.append(int(entry.name))
        return listed

    def rank(self, number: int) -> int:
        """The process id, outside the host, of a rank that torchrun started on it; 0 without one."""

        def is_rank(process: Path) -> bool:
            return f"RANK={number}".encode() in (process / "environ").read_bytes().split(b"\0")

        return min(self.processes(is_rank), default=0)

    def cut(self) -> None:
        """Pull its cable: it keeps its address, and nobody reaches it."""
        self._set_port("down")

    def mend(self) -> None:
        """Plug the cable in again."""
        self._set_port("up")

    def _set_port(self, state: str) -> None:
        _inside(self.switch, "--net", "ip", "link", "set", self.port, state)


@contextmanager
def network(count: int) -> Iterator[list[Host]]:
    """Hosts h1, h2, ... at 10.77.0.1, 10.77.0.2, ..., which know each other by name; they end with the block."""
    with ExitStack() as stack:
        names = [f"h{number}" for number in range(1, count + 1)]
        switch = stack.enter_context(_namespaces("--net"))
        _inside(switch, "--net", "ip", "link", "add", "bridge", "type", "bridge")
        _inside(switch, "--net", "ip", "link", "set", "bridge", "up")
        known = "127.0.0.1 localhost\n" + "".join(f"{_address(i)} {name}\n" for i, name in enumerate(names, 1))
        hosts = []
        for number, name in enumerate(names, 1):
            first = stack.enter_context(_namespaces("--net", "--uts", "--ipc", "--mount", "--mount-proc"))
            host = Host(name, _address(number), first, switch, f"port{number}")
            cable = ["link", "add", host.port, "type", "veth", "peer", "name", _INTERFACE, "netns", str(first)]
            _inside(switch, "--net", "ip", *cable)
            _inside(switch, "--net", "ip", "link", "set", host.port, "master", "bridge", "up")
            _inside(first, "--all", "sh", "-euc", _SET_UP, "sh", name, host.address, known)
            hosts.append(host)
        yield hosts


_SET_UP = f"""
hostname "$1"
ip link set lo up
ip address add "$2/24" dev {_INTERFACE}
ip link set {_INTERFACE} up
mount -t tmpfs local /dev/shm
mount -t tmpfs local {LOCAL}
printf %s "$3" > {LOCAL}/hosts
echo 4 >/proc/sys/net/ipv4/tcp_retries2
mount --bind {LOCAL}/hosts /etc/hosts
"""


@functools.cache
def why_not() -> str:
    """Why this machine can't have such hosts; empty if it can."""
    missing = [program for program in ("ip", "unshare", "nsenter") if shutil.which(program) is None]
    if os.geteuid() != 0 or missing:
        return f"needs root{''.join(f' and the program {program}' for program in missing)}"
    try:
        with network(1):
            return ""
    except (OSError, RuntimeError) as error:
        return f"no namespaces here: {error}"


def _address(number: int) -> str:
    return f"10.77.0.{number}"


@contextmanager
def _namespaces(*kinds: str) -> Iterator[int]:
    """Create namespaces of these kinds and of processes. Returns the id of their first process."""
    # Orphans become children of the first process, which ignores their ends, so that they disappear.
    first = ["sh", "-c", "trap '' CHLD; exec cat"]
    unshare = subprocess.Popen(
        ["unshare", *kinds, "--pid", "--fork", "--kill-child", *first], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert unshare.stdin is not None
    assert unshare.stderr is not None
    try:
        children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children")
        while not (child := children.read_text().split()) or Path(f"/proc/{child[0]}/comm").read_text() != "cat\n":
            if unshare.poll() is not None:
                raise RuntimeError(unshare.stderr.read().decode().strip())
            time.sleep(0.01)
        yield int(child[0])
    finally:
        unshare.stdin.close()  # the kernel kills all processes of the host when the first one ends
        try:
            unshare.wait(10.0)
        except subprocess.TimeoutExpired:
            unshare.kill()
            unshare.wait()
        unshare.stderr.close()


def _inside(process: int, *command: str) -> None:
    done = subprocess.run(["nsenter", "--target", str(process), *command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
