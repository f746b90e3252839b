"""Training methods: the scores of a ticket, or the weights of a dense network."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from ugts_dist.checkpointing.network_files import DENSE, TICKET
from ugts_dist.checkpointing.provenance import TrainedOn, provenance
from ugts_dist.checkpointing.saved_network import NetworkSnapshot
from ugts_dist.checkpointing.saved_own import own_entry
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.methods import METHODS
from ugts_dist.models import OwnNetwork, plain_module
from ugts_dist.models.graph_level import Network
from ugts_dist.supermask import Schedule, Supermask, Targets, Ticket, calibrate, sparsify
from ugts_dist.tensor_file import write_tensor_file

_log = logging.getLogger(__name__)


class TrainingMethod(Protocol):
    """One way to train a network.

    Attributes:
        file: the name of the best network's file.
    """

    model: Network
    schedule: Schedule
    file: str

    def trained(self) -> dict[str, nn.Parameter]:
        """The tensors that the optimiser changes, by the name of their weight."""
        ...

    def start(self, forward: Callable[[], Any]) -> None:
        """Prepare for the first step; `forward` runs the model once."""
        ...

    def gains(self) -> dict[str, float]:
        """The factors of the frozen weights; empty without frozen weights."""
        ...

    def set_gains(self, gains: Mapping[str, float]) -> None:
        """Restore the gains of an earlier `start`, instead of `start`."""
        ...

    def fingerprint(self) -> str:
        """SHA-256 of the frozen weights; empty without frozen weights."""
        ...

    def set_sparsity(self, sparsity: float) -> None:
        """Set the sparsity, before each forward pass. Collective with several ranks."""
        ...

    def targets(self, sparsity: float) -> Targets | None:
        """What `set_sparsity` must reach, as tensors; None if nothing is masked."""
        ...

    def apply(self, targets: Targets) -> None:
        """Reach these targets. Not collective."""
        ...

    def achieved_sparsity(self) -> float:
        """The fraction of weights that are masked now."""
        ...

    def threshold(self) -> dict[str, float]:
        """The current global threshold, by its name in the log; empty if there is none."""
        ...

    def snapshot(
        self,
        config: Config,
        metrics: Mapping[str, float],
        trained_on: TrainedOn,
    ) -> NetworkSnapshot:
        """The network at this moment, with the data that it was trained on."""
        ...


class TicketSearch:
    """Frozen weights with trained scores."""

    file = TICKET

    def __init__(self, model: Network, config: Config, ranks: Ranks) -> None:
        options = config.supermask
        scope, ramp = options.effective_scope, options.effective_schedule
        method = METHODS[options.method]
        self.model = model
        self.schedule = Schedule(
            options.sparsity, config.ramp_epochs, 3 if ramp == "cubic" else 1, options.initial_sparsity
        )
        self._options = options
        self.mask: Supermask = sparsify(
            plain_module(model),
            config.weight_seed,
            weight_init=options.weight_init,
            score_init=options.score_init,
            score_scale=options.score_scale,
            scope=scope,
            rescale=options.rescale,
            ranking=options.ranking,
            min_layer_density=options.min_layer_density,
            input_layers=model.input_layers() if options.input_sparsity else (),
            input_sparsity=options.input_sparsity,
            coats=options.coats,
            signed=options.signed,
            pruned=options.pruned,
            rank=method.rank if method.has_rank else None,
            locked=options.locked,
            fold=model.folds() if options.fold else (),
            process_group=ranks.process_group,
        )

    def trained(self) -> dict[str, nn.Parameter]:
        return dict(zip(self.mask.weights(), self.mask.scores(), strict=True))

    def start(self, forward: Callable[[], Any]) -> None:
        options, model = self._options, self.model
        if options.calibrate:
            levels = dict.fromkeys(model.attention(), options.attention_rms)
            levels |= dict.fromkeys(model.outputs(), options.output_rms)
            with _calibrating(model):
                calibrate(self.mask, forward, model.calibrated(), sparsity=options.calibrate_at, levels=levels)

    def gains(self) -> dict[str, float]:
        return self.mask.gains()

    def set_gains(self, gains: Mapping[str, float]) -> None:
        for name, gain in gains.items():
            self.mask.scale(name, gain)

    def fingerprint(self) -> str:
        return self.mask.fingerprint()

    def set_sparsity(self, sparsity: float) -> None:
        self.mask.step(sparsity)

    def targets(self, sparsity: float) -> Targets | None:
        return self.mask.targets(sparsity)

    def apply(self, targets: Targets) -> None:
        self.mask.apply(targets)

    def achieved_sparsity(self) -> float:
        return self.mask.sparsity()

    def threshold(self) -> dict[str, float]:
        threshold = self.mask.threshold
        return {} if threshold is None or not threshold.isfinite() else {"threshold": float(threshold)}

    def snapshot(
        self,
        config: Config,
        metrics: Mapping[str, float],
        trained_on: TrainedOn,
    ) -> Ticket:
        origin = provenance(trained_on.brief()) | own_entry(self.model)
        return Ticket.of(self.mask, _described(config), metrics, origin)


@dataclass(frozen=True)
class DenseNetwork:
    """Trained weights at some moment."""

    state: dict[str, Tensor]
    header: dict[str, Any]

    def save(self, path: Path) -> int:
        return write_tensor_file(path, self.state, self.header, "dense")


class DenseTraining:
    """Trained weights without a mask: the baseline of a ticket."""

    file = DENSE

    def __init__(self, model: Network, config: Config, ranks: Ranks) -> None:
        self.model = model
        self.schedule = Schedule(0.0)

    def trained(self) -> dict[str, nn.Parameter]:
        return dict(plain_module(self.model).named_parameters())

    def start(self, forward: Callable[[], Any]) -> None:
        """Do nothing: trained weights adapt their scale."""

    def gains(self) -> dict[str, float]:
        return {}

    def set_gains(self, gains: Mapping[str, float]) -> None:
        """Do nothing: there are no gains."""

    def fingerprint(self) -> str:
        return ""

    def set_sparsity(self, sparsity: float) -> None:
        """Do nothing: no weight is masked."""

    def targets(self, sparsity: float) -> Targets | None:
        return None

    def apply(self, targets: Targets) -> None:
        """Do nothing: no weight is masked."""

    def achieved_sparsity(self) -> float:
        return 0.0

    def threshold(self) -> dict[str, float]:
        return {}

    def snapshot(
        self,
        config: Config,
        metrics: Mapping[str, float],
        trained_on: TrainedOn,
    ) -> DenseNetwork:
        state = {name: value.detach().cpu().clone() for name, value in plain_module(self.model).state_dict().items()}
        origin = provenance(trained_on) | own_entry(self.model)
        header = {"config": _described(config), "metrics": dict(metrics), "provenance": origin}
        return DenseNetwork(state, header)


@contextmanager
def _calibrating(model: Network) -> Iterator[None]:
    """Make the attention of an own network measurable, and print warnings about its layers in one line each.

    Its biases can keep a layer from its level.
    """
    if not isinstance(model, OwnNetwork):
        yield
        return
    with model.halves.measured(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        _log.warning(f"note: {message}")


def make_method(config: Config, model: Network, ranks: Ranks) -> TrainingMethod:
    """The method for a configuration, around a plain model, which it moves to the rank's device."""
    kind = TicketSearch if config.supermask.masks else DenseTraining
    return kind(model.to(ranks.device), config, ranks)


def _described(config: Config) -> dict[str, Any]:
    """The configuration that a saved network stores, without logs and checkpoints, so that these don't change it."""
    return {name: fields for name, fields in config.portable().items() if name not in ("log", "checkpoint")}
