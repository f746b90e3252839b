"""What every task offers: network, batches, loss and metric."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

from torch import Tensor, nn

from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.metrics import Metric
from ugts_dist.models import Dropout
from ugts_dist.models.graph_level import Network


class Step(Protocol):
    """One step's input on this rank: the number of the step, counted over all epochs, and the id of each node."""

    step: int
    nodes: Tensor


B = TypeVar("B", bound=Step)
B_co = TypeVar("B_co", bound=Step, covariant=True)


class Batches(Protocol[B_co]):
    """The batches of a run on this rank. Every rank has the same number in each epoch.

    Attributes:
        repeats: whether all batches have the same tensors.
    """

    steps_per_epoch: int
    repeats: bool

    def epoch(self, number: int, first_step: int = 0) -> Iterator[B_co]:
        """The batches of one epoch, from its `first_step`-th step on."""
        ...

    def calibration_batch(self) -> B_co:
        """A batch that is the same on every rank and for every world size."""
        ...


class Measure(Protocol):
    """The metric on the validation and test data. Each item is counted exactly once for any world size."""

    def measure(self, model: Any, loss: Tensor) -> tuple[dict[str, float], float]:
        """The metric by split, `valid` and `test`, and the sum over ranks of `loss`."""
        ...


class Task(Protocol[B]):
    """One kind of data with its network, batches, loss and metric.

    Attributes:
        metric: of validation and test.
    """

    metric: Metric

    def check(self, config: Config, ranks: Ranks) -> None:
        """Raise InputError for a configuration that does not fit the data."""
        ...

    def network(self, config: Config) -> Network:
        """The plain dense network."""
        ...

    def batches(self, config: Config, ranks: Ranks) -> Batches[B]:
        """The training batches of this rank."""
        ...

    def evaluator(self, config: Config, ranks: Ranks) -> Measure:
        """The evaluation of the network."""
        ...

    def labels_json(self) -> dict[str, Any]:
        """What a saved network must know of the labels to predict; empty if its shape says it."""
        ...

    def forward(self, network: nn.Module, batch: B, dropout: Dropout | None = None) -> Tensor:
        """The logits of a batch."""
        ...

    def loss(self, logits: Tensor, batch: B) -> Tensor:
        """This rank's part of the step's mean loss. The sum over ranks is the mean over all items of the step."""
        ...
