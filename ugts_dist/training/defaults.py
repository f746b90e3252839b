"""Settings for a graph that nobody has tuned for: rules over what is seen of it, each choice with its reason.

The figures behind the rules are in docs/settings.md.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from ugts_dist.config import Config
from ugts_dist.graphs.traits import Traits

DENSE_FROM = 0.1  # part of non-zero features from which columns are standardised
_FULL_BATCH_NODES, _FULL_BATCH_EDGES = 100_000, 2_000_000  # beyond, a step sees a sample
_FULL_BATCH_EPOCHS = 400
_SAMPLED_STEPS = 3000
_BATCH_SIZE = 1024
_FAN_OUT = 15  # of the first hop, 10 of each further one
DEEP = 4  # convolutions from which a plain stack learns nothing


@dataclass(frozen=True)
class Choice:
    """One field of the configuration, and why it has its value."""

    field: str
    value: Any
    reason: str

    def __str__(self) -> str:
        return f"{self.field} {json.dumps(self.value)} ({self.reason})"


def fitted(config: Config, traits: Traits, given: Collection[str]) -> tuple[Config, list[Choice]]:
    """The configuration with what the rules choose for such a graph, and these choices; `given` fields stay.

    A pure function: the same on every rank, and for a run that goes on.
    """
    chosen = [choice for choice in _choices(config, traits) if choice.field not in given]
    return config.replace({choice.field: choice.value for choice in chosen}), chosen


def _choices(config: Config, traits: Traits) -> Iterator[Choice]:
    yield from _features(traits)
    yield from _network(config, traits)
    yield from _dense(traits) if config.supermask.method == "dense" else _ticket(config, traits)
    if not config.batch.size:
        yield from _batches(config, traits)


def _features(traits: Traits) -> Iterator[Choice]:
    if traits.density >= DENSE_FROM:
        yield Choice("data.standardize", True, f"{traits.density:.0%} of the features are not zero")


def _labels_a_feature(traits: Traits) -> float:
    """How well the labels determine weights that read the features; below 1 a network can learn them by heart."""
    return traits.num_labels / traits.num_features


def _network(config: Config, traits: Traits) -> Iterator[Choice]:
    ratio = _labels_a_feature(traits)
    told = f"{traits.num_labels:,} labels for {traits.num_features:,} features"
    ticket = config.supermask.method != "dense"
    if ratio < 2.0:
        yield Choice("model.dropout", 0.8 if ticket else 0.5, told)
    elif ratio < 20.0:
        yield Choice("model.dropout", 0.5, told)
    if config.model.depth >= DEEP:
        yield Choice("model.skip", "initial", f"depth {config.model.depth}")
        yield Choice("model.dropout_at", "input", f"depth {config.model.depth}")


def _dense(traits: Traits) -> Iterator[Choice]:
    if _labels_a_feature(traits) < 20.0:
        yield Choice("optim.weight_decay", 5e-4, f"{traits.num_labels:,} labels for {traits.num_features:,} features")


def _ticket(config: Config, traits: Traits) -> Iterator[Choice]:
    ratio = _labels_a_feature(traits)
    level = min(1.0, max(0.1, round(ratio / 3.0, 1)))
    yield Choice("supermask.output_rms", level, f"{ratio:.2g} labels for each feature")
    if config.model.depth >= DEEP:
        deep = f"depth {config.model.depth}"
        yield Choice("supermask.weight_init", "balanced", deep)
        yield Choice("supermask.floor", 0.3, deep)
        yield Choice("supermask.calibrate_at", config.supermask.sparsity, deep)


def _batches(config: Config, traits: Traits) -> Iterator[Choice]:
    size = f"{traits.num_nodes:,} nodes, {traits.num_edges:,} edges"
    if traits.num_nodes <= _FULL_BATCH_NODES and traits.num_edges <= _FULL_BATCH_EDGES:
        yield Choice("run.epochs", _FULL_BATCH_EPOCHS, f"{size}: full batch")
        return
    batch = min(_BATCH_SIZE, max(1, traits.num_labels // 8))
    epochs = min(200, max(10, -(-_SAMPLED_STEPS * batch // traits.num_labels)))
    yield Choice("batch.size", batch, size)
    yield Choice("batch.fan_out", [_FAN_OUT, *[10] * (config.model.depth - 1)], size)
    yield Choice("run.epochs", epochs, f"{_SAMPLED_STEPS:,} steps")
    yield Choice("run.evaluate_every", max(1, epochs // 20), "an evaluation sees all nodes")
    yield Choice("optim.schedule", "cosine", "a run of few epochs")
