"""The store of one start: the launcher's own outlives the ranks, and with it what earlier ones of them left there."""

from __future__ import annotations

import time
import uuid
from typing import Protocol

from ugts_dist.errors import LostRankError

_PAUSE = 0.02
_SECONDS = 600.0  # machines start at different times; where a rank has died, its launcher ends the others before that


class Store(Protocol):
    """What is used of torch's stores."""

    def set(self, key: str, value: str) -> None: ...

    def get(self, key: str) -> bytes: ...

    def check(self, keys: list[str]) -> bool: ...


def meet(store: Store, rank: int, world_size: int) -> str:
    """A name that all ranks of this start agree on, and that no earlier start had.

    Each rank calls with a word of its own, which the main rank answers with the name. What a dead rank called is
    answered too, but never confirmed. `TORCHELASTIC_RESTART_COUNT` would not do: it differs between machines, as each
    counts only the failures of its own ranks.

    Raises LostRankError where a rank does not come.
    """
    word = uuid.uuid4().hex
    deadline = time.monotonic() + _SECONDS
    if rank > 0:
        store.set(f"call/{rank}", word)
        while not store.check([f"answer/{word}"]):
            if time.monotonic() > deadline:
                raise LostRankError(f"rank 0 did not come within {_SECONDS:g} s")
            time.sleep(_PAUSE)
        name = store.get(f"answer/{word}").decode()
        store.set(f"{name}/{rank}", "here")
        return name
    absent = list(range(1, world_size))
    while absent:
        for other in absent:
            if store.check([f"call/{other}"]):
                store.set(f"answer/{store.get(f'call/{other}').decode()}", word)
        absent = [other for other in absent if not store.check([f"{word}/{other}"])]
        if absent and time.monotonic() > deadline:
            raise LostRankError(f"rank {', '.join(map(str, absent))} did not come within {_SECONDS:g} s")
        time.sleep(_PAUSE if absent else 0.0)
    return word
