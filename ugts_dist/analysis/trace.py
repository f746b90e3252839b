"""The layers over training: a configuration is trained again, with measurements every few epochs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from rich.progress import track

from ugts_dist.analysis.gradients import batches_of_a_step, gradient_norms
from ugts_dist.analysis.smoothing import mad_of_layers
from ugts_dist.analysis.subject import make_evaluator
from ugts_dist.checkpointing.broadcast import initial_scores
from ugts_dist.config import Config
from ugts_dist.console import errors
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.evaluation.evaluator import Evaluator
from ugts_dist.graphs.configured import load_graph
from ugts_dist.models import GNN
from ugts_dist.tasks import NodeTask
from ugts_dist.training.fit import learning_rate
from ugts_dist.training.trainer import Trainer, make_trainer


@dataclass
class Trace:
    """Measurements before some epochs, and after the last one.

    Attributes:
        layers: names of the layers whose outputs are measured.
        weights: names of the layers whose gradients are measured.
        epochs: number of finished epochs, `[measurements]`.
        sparsity: of the network in the next epoch and in the measurement, `[measurements]`.
        mad: `[measurements, layers]`.
        gradients: norms, `[measurements, weights]`.
    """

    layers: list[str] = field(default_factory=list)
    weights: list[str] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    sparsity: list[float] = field(default_factory=list)
    mad: list[list[float]] = field(default_factory=list)
    gradients: list[list[float]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def add(self, epoch: int, sparsity: float, mad: dict[str, float], gradients: dict[str, float]) -> None:
        """Add a measurement."""
        self.layers, self.weights = list(mad), list(gradients)
        self.epochs.append(epoch)
        self.sparsity.append(sparsity)
        self.mad.append(list(mad.values()))
        self.gradients.append(list(gradients.values()))


def trace_training(config: Config, every: int, ranks: Ranks | None = None) -> Trace:
    """Train `config`, and measure before every `every`-th epoch and after the last one. Collective.

    The scores (or weights) are those of `ugts train`, bit for bit with our own sampler, for all epochs: nothing is
    evaluated or saved, so that patience has no effect. The network is measured as it trains, at the sparsity of the
    epoch: exact MAD over all nodes, and gradients of the epoch's first step.

    Raises InputError as a run does, and FloatingPointError if a gradient is not finite.
    """
    ranks = Ranks() if ranks is None else ranks
    if config.model.factory:
        found = f"model.factory is {config.model.factory}"
        raise InputError(f"{found}, allowed is none: layers of own networks are not known")
    graph = ranks.raise_together(lambda: load_graph(config))
    task = NodeTask(graph, config.task, ranks.device)
    ranks.raise_together(lambda: task.check(config, ranks))
    training = make_trainer(config, task, ranks, scores=initial_scores(config.run.init_scores, ranks))
    evaluator, trace, epochs = make_evaluator(graph, config, ranks), Trace(), config.run.epochs
    console, hidden = errors(), not (ranks.is_main and config.log.progress)
    for epoch in track(range(epochs + 1), config.label, console=console, disable=hidden):
        if epoch % every == 0 or epoch == epochs:
            _look(trace, epoch, training, task, evaluator, config, ranks)
        if epoch < epochs:
            training.epoch(epoch, training.method.schedule(epoch), learning_rate(config, epoch))
            training.progress.next_epoch()
    return trace


def _look(
    trace: Trace, epoch: int, training: Trainer, task: NodeTask, evaluator: Evaluator, config: Config, ranks: Ranks
) -> None:
    method = training.method
    assert isinstance(method.model, GNN)
    sparsity = method.schedule(epoch)
    training.mask(sparsity)
    batches = batches_of_a_step(training.batches, min(epoch, config.run.epochs - 1))
    norms = gradient_norms(method.model, method.trained(), task, batches, ranks)
    if not all(map(math.isfinite, norms.values())):
        raise FloatingPointError(f"a gradient is not finite before epoch {epoch}: try a smaller optim.lr")
    trace.add(epoch, sparsity, mad_of_layers(evaluator, method.model, ranks), norms)
