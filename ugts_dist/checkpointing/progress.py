"""How far a run has come: everything of it, beside tensors, that it needs to go on from there."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Best:
    """The best epoch so far by the validation metric, the earliest of equals.

    Attributes:
        epoch, valid, test, sparsity: of the best among the epochs that were admitted; epoch -1 before there is one.
        valid_any, test_any: of the best of all epochs.
    """

    epoch: int = -1
    valid: float = -1.0
    test: float = math.nan
    sparsity: float = 0.0
    valid_any: float = -1.0
    test_any: float = math.nan

    def after(self, epoch: int, measured: dict[str, float], sparsity: Callable[[], float], admitted: bool) -> Best:
        """The best one once `epoch` is evaluated too; `sparsity` is asked for only if it is this one."""
        valid, test = measured["valid"], measured["test"]
        valid_any, test_any = self.valid_any, self.test_any
        if valid > valid_any:
            valid_any, test_any = valid, test
        if admitted and valid > self.valid:
            return Best(epoch, valid, test, sparsity(), valid_any, test_any)
        return Best(self.epoch, self.valid, self.test, self.sparsity, valid_any, test_any)


@dataclass
class Progress:
    """Where a run stands. Changed by the loop as it goes.

    Attributes:
        steps_per_epoch: of this run.
        loss: this rank's sum of the losses of this epoch, a scalar on the rank's device that nobody has waited for.
        epoch: the present one.
        step: steps of it that are done.
        best: so far.
        measured: the last evaluation.
    """

    steps_per_epoch: int
    loss: Tensor
    epoch: int = 0
    step: int = 0
    best: Best = field(default_factory=Best)
    measured: dict[str, float] = field(default_factory=lambda: {"valid": 0.0, "test": 0.0})

    @property
    def steps(self) -> int:
        """Done since the run began."""
        return self.epoch * self.steps_per_epoch + self.step

    def next_epoch(self) -> None:
        """The present epoch is over, its evaluation too."""
        self.epoch, self.step = self.epoch + 1, 0
        self.loss.zero_()
