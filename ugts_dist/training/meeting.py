"""The store of one start: the launcher's own outlives the ranks, and with it what earlier ones of them left there."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

import torch.distributed as dist
from torch.distributed import PrefixStore, TCPStore, rendezvous  # type: ignore[attr-defined]

from ugts_dist.errors import LostRankError, RankInputError
from ugts_dist.terminal import note

_PAUSE = 0.02
_NOTE_SECONDS = 10.0  # until a rank that waits says for whom
_STORE_SECONDS = 10.0  # torchrun's store is there before its ranks are; if it does not answer at once, it is gone
_SECONDS = 600.0  # machines start at different times; where a rank has died, its launcher ends the others before that


class Store(Protocol):
    """What is used of torch's stores."""

    def set(self, key: str, value: str) -> None: ...

    def get(self, key: str) -> bytes: ...

    def check(self, keys: list[str]) -> bool: ...


@dataclass(frozen=True)
class MeetingPoint:
    """Which rank this process is, of how many, and where they meet."""

    rank: int
    world_size: int
    address: str
    port: int

    @property
    def place(self) -> str:
        return f"{self.address}:{self.port}"


def meeting_point() -> MeetingPoint | None:
    """What a launcher such as torchrun has told in the environment; None where there is none.

    Raises RankInputError where a variable is missing or can't be.
    """
    if "RANK" not in os.environ and "WORLD_SIZE" not in os.environ:
        return None
    world_size = _number("WORLD_SIZE", 1)
    rank = _number("RANK", 0, world_size - 1)
    if "LOCAL_WORLD_SIZE" in os.environ or "LOCAL_RANK" in os.environ:
        _number("LOCAL_RANK", 0, _number("LOCAL_WORLD_SIZE", 1, world_size) - 1)
    address = _variable("MASTER_ADDR", "the name or address of rank 0's machine")
    return MeetingPoint(rank, world_size, address, _number("MASTER_PORT", 1, 65535))


def _variable(name: str, allowed: str) -> str:
    text = os.environ.get(name, "")
    if not text:
        given = next(each for each in ("RANK", "WORLD_SIZE") if each in os.environ)
        raise RankInputError(
            f"{name} is not set, but {given} is {os.environ[given]!r}; allowed is {allowed} "
            "(torchrun sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT), or none of these for a single process"
        )
    return text


def _number(name: str, least: int, most: int | None = None) -> int:
    allowed = f"a whole number from {least}" + ("" if most is None else f" to {most}")
    text = _variable(name, allowed)
    if not (text.isascii() and text.isdigit() and least <= int(text) and (most is None or int(text) <= most)):
        raise RankInputError(f"{name} is {text!r}, allowed is {allowed}")
    return int(text)


def open_store(point: MeetingPoint, timeout: float) -> Any:
    """The store of this start, once all ranks are there; `timeout` seconds are those of its later answers too.

    Raises LostRankError where no other rank comes, and RankInputError where rank 0 can't listen.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        store, seconds = _store_of_launcher(point, timeout), _SECONDS
    else:
        store, seconds = _store_of_rank_0(point, timeout), timeout
    store.set_timeout(timedelta(seconds=timeout))
    return PrefixStore(meet(PrefixStore("meet", store), point.rank, point.world_size, point.place, seconds), store)


def _store_of_launcher(point: MeetingPoint, timeout: float) -> Any:
    try:
        return next(iter(rendezvous("env://", timeout=timedelta(seconds=min(timeout, _STORE_SECONDS)))))[0]
    except dist.DistNetworkError:
        raise LostRankError(
            f"nothing answers at {point.place}, where the ranks were to meet: the launcher is gone"
        ) from None


def _store_of_rank_0(point: MeetingPoint, timeout: float) -> Any:
    """As torch's rendezvous makes it, but rank 0 does not wait for the others yet: `meet` tells who is missing."""
    late = f"waiting for rank 0 of {point.world_size} ranks at {point.place}"
    try:
        with _noted_late(late) if point.rank > 0 else nullcontext():
            return TCPStore(
                point.address,
                point.port,
                is_master=point.rank == 0,
                timeout=timedelta(seconds=timeout),
                wait_for_workers=False,
                multi_tenant=True,
            )
    except dist.DistError as error:
        if point.rank == 0:
            reason = str(error).splitlines()[0]
            raise RankInputError(
                f"MASTER_ADDR and MASTER_PORT are {point.place}, where rank 0 can't listen ({reason}); "
                "allowed are its machine and a free port"
            ) from None
        raise LostRankError(f"rank 0 did not answer at {point.place} within {timeout:g} s") from None


@contextmanager
def _noted_late(line: str) -> Iterator[None]:
    """Say the line if the block takes long."""
    timer = threading.Timer(_NOTE_SECONDS, note, [line])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def meet(store: Store, rank: int, world_size: int, place: str = "", seconds: float = _SECONDS) -> str:
    """A name that all ranks of this start agree on, and that no earlier start had.

    Each rank calls with a word of its own, which the main rank answers with the name. What a dead rank called is
    answered too, but never confirmed. `TORCHELASTIC_RESTART_COUNT` would not do: it differs between machines, as each
    counts only the failures of its own ranks.

    A rank that waits for long says so. `place` is where they meet, for messages.

    Raises LostRankError where a rank does not come within `seconds`.
    """
    word = uuid.uuid4().hex
    deadline = time.monotonic() + seconds
    if rank > 0:
        store.set(f"call/{rank}", word)
        with _noted_late(f"waiting for rank 0 of {world_size} ranks at {place}"):
            while not store.check([f"answer/{word}"]):
                if time.monotonic() > deadline:
                    raise LostRankError(f"rank 0 did not come to {place} within {seconds:g} s")
                time.sleep(_PAUSE)
        name = store.get(f"answer/{word}").decode()
        store.set(f"{name}/{rank}", "here")
        return name
    absent = list(range(1, world_size))
    note_at = time.monotonic() + _NOTE_SECONDS
    while absent:
        for other in absent:
            if store.check([f"call/{other}"]):
                store.set(f"answer/{store.get(f'call/{other}').decode()}", word)
        absent = [other for other in absent if not store.check([f"{word}/{other}"])]
        if absent and time.monotonic() > deadline:
            raise LostRankError(f"rank {', '.join(map(str, absent))} did not come to {place} within {seconds:g} s")
        if absent and time.monotonic() > note_at:
            note(f"waiting for {len(absent)} of {world_size} ranks at {place}")
            note_at = deadline  # once
        time.sleep(_PAUSE if absent else 0.0)
    return word
