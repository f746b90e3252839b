"""The average of the scores over the steps, which is judged and saved in the place of the last scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average:
    """An exponential moving average of what is trained, as Polyak and Juditsky (1992) average weights.

    It starts at the first scores. Every rank has the same scores, so every rank has the same average.

    Args:
        trained: the tensors, by name; they go on to be trained as they are.
        decay: what the average keeps of itself in a step, 0 to 1; 0: there is none, and everything here does nothing.
    """

    def __init__(self, trained: Mapping[str, nn.Parameter], decay: float) -> None:
        self._trained = dict(trained) if decay else {}
        self._average = {name: value.detach().clone() for name, value in self._trained.items()}
        self._blend = get_ema_multi_avg_fn(decay)

    def tensors(self) -> dict[str, Tensor]:
        """The average as it is now, by name; nothing where there is none."""
        return self._average

    def update(self) -> None:
        """After a step."""
        if self._average:
            self._blend(list(self._average.values()), list(self._trained.values()), 0)

    @torch.no_grad()
    def restore(self, found: Mapping[str, Tensor]) -> None:
        """The average of a checkpoint, which has a tensor for each of ours."""
        for name, value in self._average.items():
            value.copy_(found[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The average stands where the scores are, and they come back at the end."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, average in self._average.items():
            kept = average.clone()
            average.copy_(self._trained[name])
            self._trained[name].copy_(kept)
