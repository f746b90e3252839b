"""Files after bad disks, bad memory, partial copies and mistakes: their checksums are wrong."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from random import Random

Damage = Callable[[Path, Random], str]
"""Changes a file, or what is in its place; returns what it did."""


def _changed(change: Callable[[bytes, Random], tuple[bytes, str]]) -> Damage:
    """Only for a file whose content changes."""

    def damage(path: Path, random: Random) -> str:
        data = path.read_bytes()
        new, told = data, ""
        while new == data:
            new, told = change(data, random)
        replace(path, new)
        return told

    return damage


def replace(path: Path, data: bytes) -> None:
    """Replace the file under this name; other names of the old file keep it."""
    path.unlink()
    path.write_bytes(data)


@_changed
def _truncated(data: bytes, random: Random) -> tuple[bytes, str]:
    size = random.choice((0, 1, 7, 8, 9, len(data) - 1, len(data) - 2, random.randrange(len(data))))
    return data[:size], f"cut to {size} bytes"


@_changed
def _flipped(data: bytes, random: Random) -> tuple[bytes, str]:
    # The first bytes say how to read the rest.
    reach = min(len(data), random.choice((8, 200, len(data))))
    places = [random.randrange(reach) for _ in range(random.choice((1, 1, 3)))]
    new = bytearray(data)
    for place in places:
        new[place] ^= 1 << random.randrange(8)
    return bytes(new), f"bits flipped at {places}"


@_changed
def _inserted(data: bytes, random: Random) -> tuple[bytes, str]:
    place = random.choice((0, len(data), random.randrange(len(data))))
    more = random.choice((b"\n", b"\r", b" ", b"\0", random.randbytes(random.randint(1, 64))))
    return data[:place] + more + data[place:], f"{len(more)} bytes inserted at {place}"


@_changed
def _removed(data: bytes, random: Random) -> tuple[bytes, str]:
    place, count = random.randrange(len(data)), random.randint(1, 64)
    return data[:place] + data[place + count :], f"{count} bytes removed at {place}"


@_changed
def _overwritten(data: bytes, random: Random) -> tuple[bytes, str]:
    place, count = random.randrange(len(data)), random.choice((1, 16, 512, 4096))
    more = random.choice((bytes(count), b"\xff" * count, random.randbytes(count)))
    return (data[:place] + more)[: len(data)] + data[place + count :], f"{count} bytes overwritten at {place}"


@_changed
def _moved(data: bytes, random: Random) -> tuple[bytes, str]:
    a, b, c = sorted(random.randrange(len(data) + 1) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:], f"bytes {a} to {b} and {b} to {c} swapped"


@_changed
def _other_lines(data: bytes, random: Random) -> tuple[bytes, str]:
    if b"\n" not in data:
        return data + b"\r\n", "line end appended"
    return data.replace(b"\n", random.choice((b"\r\n", b"\r", b"\n\n"))), "other line ends"


@_changed
def _twice(data: bytes, random: Random) -> tuple[bytes, str]:
    return data + data, "content twice"


@_changed
def _other_file(data: bytes, random: Random) -> tuple[bytes, str]:
    kind = random.choice(("zeros", "noise", "text", "pickle", "zip"))
    content = {
        "zeros": bytes(len(data)),
        "noise": random.randbytes(len(data)),
        "text": b"{}\n",
        # Loading this pickle creates a file.
        "pickle": b"cos\nsystem\n(S'touch " + MARK.encode() + b"'\ntR.",
        "zip": b"PK\x03\x04" + random.randbytes(60),
    }[kind]
    return content, f"{kind} instead"


MARK = "code-has-been-run"


def _nothing(path: Path, random: Random) -> str:
    path.unlink()
    return "missing"


def _folder(path: Path, random: Random) -> str:
    path.unlink()
    path.mkdir()
    return "a folder instead"


def _pipe(path: Path, random: Random) -> str:
    path.unlink()
    os.mkfifo(path)
    return "a pipe instead"


def _socket(path: Path, random: Random) -> str:
    path.unlink()
    before = os.getcwd()
    os.chdir(path.parent)  # the name of a socket has to be short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path.name)
    os.chdir(before)
    return "a socket instead"


def _link(path: Path, random: Random) -> str:
    path.unlink()
    target = random.choice((path.name, "nowhere", "/dev/zero", "/dev/null", "/dev/tty", "/proc/self/mem", "..", "/"))
    path.symlink_to(target)
    return f"a link to {target} instead"


def _enormous(path: Path, random: Random) -> str:
    data = path.read_bytes()
    replace(path, data if random.random() < 0.5 else b"")
    size = random.choice((2**24, 2**28, 2**37, 2**40))
    os.truncate(path, size)
    return f"{size} bytes, most of them a hole"


DAMAGES: list[Damage] = [
    *[_truncated] * 6,
    *[_flipped] * 8,
    *[_inserted] * 3,
    *[_removed] * 3,
    *[_overwritten] * 3,
    *[_moved] * 2,
    _other_lines,
    _twice,
    *[_other_file] * 2,
    _nothing,
    _folder,
    _pipe,
    _socket,
    *[_link] * 2,
    _enormous,
]
"""Those that try more get more turns."""
