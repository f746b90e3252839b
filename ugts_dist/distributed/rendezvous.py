"""Rendezvous: the ranks of one start find each other, and get a store that no earlier start has written to."""

from __future__ import annotations

import logging
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

_log = logging.getLogger(__name__)

_POLL_SECONDS = 0.02
_NOTE_SECONDS = 10.0  # until a waiting rank prints a note
_STORE_SECONDS = 10.0  # torchrun's store exists before its ranks; if it does not answer soon, it is gone
_SECONDS = 600.0  # machines start at different times; if a rank dies, its launcher ends the others earlier


class Store(Protocol):
    """The part of torch's stores that is used here."""

    def set(self, key: str, value: str) -> None: ...

    def get(self, key: str) -> bytes: ...

    def check(self, keys: list[str]) -> bool: ...


@dataclass(frozen=True)
class Endpoint:
    """Rank and world size of this process, and the address and port of the rendezvous."""

    rank: int
    world_size: int
    address: str
    port: int

    @property
    def place(self) -> str:
        return f"{self.address}:{self.port}"


def endpoint_from_environment() -> Endpoint | None:
    """The endpoint that a launcher such as torchrun has set in the environment; None for a single process.

    Raises RankInputError if a variable is missing or has an impossible value.
    """
    if "RANK" not in os.environ and "WORLD_SIZE" not in os.environ:
        return None
    world_size = whole_number("WORLD_SIZE", 1)
    rank = whole_number("RANK", 0, world_size - 1)
    if "LOCAL_WORLD_SIZE" in os.environ or "LOCAL_RANK" in os.environ:
        whole_number("LOCAL_RANK", 0, whole_number("LOCAL_WORLD_SIZE", 1, world_size) - 1)
    address = _variable("MASTER_ADDR", "the name or address of rank 0's machine")
    return Endpoint(rank, world_size, address, whole_number("MASTER_PORT", 1, 65535))


def whole_number(name: str, least: int, most: int | None = None, default: int | None = None) -> int:
    """The number in an environment variable; `default` if it is not set.

    Raises RankInputError for anything but a whole number from `least` to `most`, and for an unset variable without a
    default.
    """
    if default is not None and name not in os.environ:
        return default
    allowed = f"a whole number from {least}" + ("" if most is None else f" to {most}")
    text = _variable(name, allowed)
    if not (text.isascii() and text.isdigit() and least <= int(text) and (most is None or int(text) <= most)):
        raise RankInputError(f"{name} is {text!r}, allowed is {allowed}")
    return int(text)


def _variable(name: str, allowed: str) -> str:
    text = os.environ.get(name, "")
    if not text:
        given = next((each for each in ("RANK", "WORLD_SIZE") if each in os.environ), "")
        because = f", but {given} is {os.environ[given]!r}" if given else ""
        raise RankInputError(
            f"{name} is not set{because}; allowed is {allowed} "
            "(torchrun sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT), or none of these for a single process"
        )
    return text


def open_store(endpoint: Endpoint, timeout: float) -> Any:
    """The store of this start, after all ranks have arrived. `timeout`, in seconds, is also that of later answers.

    The store of torchrun outlives the ranks and keeps the entries of earlier starts, so this one gets its own prefix.

    Raises LostRankError if another rank does not arrive, and RankInputError if rank 0 can't listen.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        store, seconds = _store_of_launcher(endpoint, timeout), _SECONDS
    else:
        store, seconds = _store_of_rank_0(endpoint, timeout), timeout
    store.set_timeout(timedelta(seconds=timeout))
    names = PrefixStore("meet", store)
    return PrefixStore(unique_name(names, endpoint.rank, endpoint.world_size, endpoint.place, seconds), store)


def _store_of_launcher(endpoint: Endpoint, timeout: float) -> Any:
    try:
        return next(iter(rendezvous("env://", timeout=timedelta(seconds=min(timeout, _STORE_SECONDS)))))[0]
    except dist.DistNetworkError:
        raise LostRankError(
            f"nothing answers at {endpoint.place}, where the ranks were to meet: the launcher is gone"
        ) from None


def _store_of_rank_0(endpoint: Endpoint, timeout: float) -> Any:
    """The store of torch's rendezvous, but rank 0 does not wait here: `unique_name` tells which ranks are missing."""
    late = f"waiting for rank 0 of {endpoint.world_size} ranks at {endpoint.place}"
    try:
        with _note_if_late(late) if endpoint.rank > 0 else nullcontext():
            return TCPStore(
                endpoint.address,
                endpoint.port,
                is_master=endpoint.rank == 0,
                timeout=timedelta(seconds=timeout),
                wait_for_workers=False,
                multi_tenant=True,
            )
    except dist.DistError as error:
        if endpoint.rank == 0:
            reason = str(error).splitlines()[0]
            raise RankInputError(
                f"MASTER_ADDR and MASTER_PORT are {endpoint.place}, where rank 0 can't listen ({reason}); "
                "allowed are its machine and a free port"
            ) from None
        raise LostRankError(f"rank 0 did not answer at {endpoint.place} within {timeout:g} s") from None


@contextmanager
def _note_if_late(line: str) -> Iterator[None]:
    """Print the line if the block takes long."""
    timer = threading.Timer(_NOTE_SECONDS, _log.warning, [line])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def unique_name(store: Store, rank: int, world_size: int, place: str = "", seconds: float = _SECONDS) -> str:
    """A name that all ranks of this start share and that no earlier start had.

    Each rank writes a random word; rank 0 answers every word with the name, and the rank confirms. Rank 0 also answers
    words of dead ranks of earlier starts, but nobody confirms these. `TORCHELASTIC_RESTART_COUNT` is no replacement: it
    differs between machines, because each counts only the failures of its own ranks.

    A rank that waits long prints a note. `place` is the address, for messages.

    Raises LostRankError if a rank does not arrive within `seconds`.
    """
    word = uuid.uuid4().hex
    deadline = time.monotonic() + seconds
    if rank > 0:
        store.set(f"call/{rank}", word)
        with _note_if_late(f"waiting for rank 0 of {world_size} ranks at {place}"):
            while not store.check([f"answer/{word}"]):
                if time.monotonic() > deadline:
                    raise LostRankError(f"rank 0 did not come to {place} within {seconds:g} s")
                time.sleep(_POLL_SECONDS)
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
            _log.warning(f"waiting for {len(absent)} of {world_size} ranks at {place}")
            note_at = deadline  # once
        time.sleep(_POLL_SECONDS if absent else 0.0)
    return word
