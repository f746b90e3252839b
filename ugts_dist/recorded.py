"""Functions of tensors that are recorded once and then repeated: on a GPU as CUDA graphs, which start as one operation.

https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from ugts_dist.errors import first_line

_log = logging.getLogger(__name__)
_WARM_UP = 3  # calls before the recording, in which libraries and optimisers allocate what they keep
_TOLERANCE = 1e-3  # of the numbers of a repetition, relative to their norm: a GPU may add in another order

Function = Callable[[], Tensor]
Record = Callable[[Function], Function]
"""Records a function of tensors that stay in place. What it returns repeats the function's operations."""


class Recorded:
    """A function that runs eagerly a few times, is recorded, and is then repeated.

    It stays eager, and a line says so, if it cannot be recorded, or if the first repetition has another result.

    Args:
        name: what it computes, for that line.
        function: it reads and changes tensors that stay in place.
        state: the tensors that it changes.
        record: how it is recorded.
    """

    def __init__(self, name: str, function: Function, state: Callable[[], Iterable[Tensor]], record: Record) -> None:
        self._name, self._function, self._state, self._record = name, function, state, record
        self._repeat: Function | None = None
        self._eager_calls = 0

    @property
    def is_repeated(self) -> bool:
        """Whether calls are repetitions now."""
        return self._repeat is not None

    def __call__(self) -> Tensor:
        """The function's result, which the next call may overwrite."""
        if self._repeat is not None:
            return self._repeat()
        self._eager_calls += 1
        return self._recorded() if self._eager_calls == _WARM_UP + 1 else self._function()

    def _recorded(self) -> Tensor:
        """Record the function; then call it, and compare a repetition with that."""
        before = _copies(self._state())
        try:
            repeat = self._record(self._function)
            self._restore(before)  # recording may run the function, too
            repeated = _copies([repeat(), *self._state()])
        except RuntimeError as error:
            self._restore(before)
            _log.warning("note: %s is not recorded, as torch can't do that here: %s", self._name, first_line(error))
            return self._function()
        self._restore(before)
        result = self._function()
        if not all(_agree(one, other) for one, other in zip(repeated, [result, *self._state()], strict=True)):
            _log.warning("note: %s is not recorded, as a repetition had another result", self._name)
            return result
        self._repeat = repeat
        return result

    @torch.no_grad()
    def _restore(self, values: list[Tensor]) -> None:
        for value, before in zip(self._state(), values, strict=True):
            value.copy_(before)


def _copies(tensors: Iterable[Tensor]) -> list[Tensor]:
    return [value.detach().clone() for value in tensors]


def _agree(one: Tensor, other: Tensor) -> bool:
    one, other = one.detach().double(), other.detach().double()
    return bool((one - other).norm() <= _TOLERANCE * other.norm())


def as_cuda_graph(function: Function) -> Function:
    """Record a function as a CUDA graph."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = function()

    def repeat() -> Tensor:
        graph.replay()
        return result

    return repeat
