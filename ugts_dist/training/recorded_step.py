"""A training step that is recorded once and then repeated.

A full batch repeats the same operations on the same memory in every step. What differs is a few numbers: they are
copied to the device before each repetition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ugts_dist.recorded import Record, Recorded
from ugts_dist.supermask import Targets


@dataclass(frozen=True, eq=False)
class StepInputs:
    """What differs between the steps of a full batch, on its device.

    Attributes:
        number: of the step, an int64 scalar.
        lr: the learning rate, a scalar.
        targets: of the thresholds; None for a dense network.
    """

    number: Tensor
    lr: Tensor
    targets: Targets | None

    def set(self, number: int, lr: float, targets: Targets | None) -> None:
        """Set the values of a step, without waiting for the device."""
        self.number.fill_(number)
        self.lr.fill_(lr)
        if self.targets is not None and targets is not None:
            self.targets.copy_(targets)

    def admits(self, targets: Targets | None) -> bool:
        """Whether a step with these targets has the same operations."""
        mine = self.targets
        return mine is None if targets is None else mine is not None and mine.structure == targets.structure


class RecordedStep:
    """A step as a function of its inputs; see `Recorded`.

    Args:
        step: the step.
        lr: the learning rate that it reads.
        state: the tensors that it changes.
        record: how it is recorded.
    """

    def __init__(
        self, step: Callable[[StepInputs], Tensor], lr: Tensor, state: Callable[[], Iterable[Tensor]], record: Record
    ) -> None:
        self._step, self._lr, self._state, self._record = step, lr, state, record
        self._inputs: StepInputs | None = None
        self._recorded: Recorded | None = None

    @property
    def is_repeated(self) -> bool:
        """Whether steps are repetitions now."""
        return self._recorded is not None and self._recorded.is_repeated

    def __call__(self, number: int, lr: float, targets: Targets | None) -> Tensor:
        """Do the step with this number. Returns its loss."""
        if self._recorded is None or self._inputs is None or not self._inputs.admits(targets):
            number_on_device = torch.zeros((), dtype=torch.int64, device=self._lr.device)
            inputs = self._inputs = StepInputs(number_on_device, self._lr, targets)
            self._recorded = Recorded("the training step", lambda: self._step(inputs), self._state, self._record)
        self._inputs.set(number, lr, targets)
        return self._recorded()
