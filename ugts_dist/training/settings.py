"""Rules that choose settings for a new graph, each with its reason; and advice after a run that learnt nothing.

The measurements behind the rules are in docs/settings.md.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ugts_dist.config import Config
from ugts_dist.config_features import is_standardized
from ugts_dist.errors import InputError
from ugts_dist.graphs.column_notes import EXTREME
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.traits import Traits, density
from ugts_dist.supermask import Ticket

DENSE_FROM = 0.25  # fraction of non-zero features from which columns are standardised
_FULL_BATCH_NODES, _FULL_BATCH_EDGES = 100_000, 2_000_000  # larger graphs are sampled
_FULL_BATCH_EPOCHS = 400
_SAMPLED_STEPS = 3200
_BATCH_SIZE = 1024
_LINK_BATCH_SIZE = 8192
_LARGEST_TABLE = 2**30  # bytes of an exact first layer's table, which the ranks of a machine share
_FEWEST_EPOCHS = 12  # of sampled batches: the sparsity rises from epoch to epoch
_FEW, _SOME, _MANY = 2.0, 20.0, 100.0  # training labels per feature: with fewer, overfitting is stronger
_NARROW = 1024  # number of features up to which twice the width takes little more time
_FEW_FEATURES = 32  # number up to which a sparse first layer keeps about one input per hidden unit
_SPARSE_FROM = 0.75  # sparsity from which a sampled ticket needs twice the width
_WIDEST_NODES = 500_000  # number up to which an evaluation can hold the widest layer's outputs
_HOMOPHILY = 0.2  # below it, neighbours say little about a node's class
_TELLING_EDGES = 20  # edges between training nodes that are enough to measure their homophily
_MARGIN = 0.02  # accuracy above that of the most frequent class that counts as learning
DEEP = 4  # number of convolutions from which a plain stack learns nothing


@dataclass(frozen=True)
class Choice:
    """One field of the configuration, its value and the reason."""

    field: str
    value: Any
    reason: str

    def __str__(self) -> str:
        return f"{self.field} {json.dumps(self.value)} ({self.reason})"


def fitted(config: Config, traits: Traits, given: Collection[str]) -> tuple[Config, list[Choice]]:
    """The configuration with the rules' choices for such a graph, and these choices. `given` fields stay.

    A pure function, so that a resumed run has the same settings. A rule whose choice does not fit the given fields,
    such as a skip connection for an architecture without one, is left out. An own network stays as it is.
    """
    chosen: list[Choice] = []
    for rule in _rules(config, traits):
        choices = [choice for choice in rule if choice.field not in given]
        if config.model.factory:
            choices = [choice for choice in choices if not choice.field.startswith("model.")]
        try:
            config = with_choices(config, choices)
        except InputError:
            continue
        chosen += choices
    return config, chosen


def with_choices(config: Config, choices: Sequence[Choice]) -> Config:
    """The configuration with these choices. Raises InputError if they are not allowed."""
    return config.replace({choice.field: choice.value for choice in choices})


def _rules(config: Config, traits: Traits) -> Iterator[Iterator[Choice]]:
    """The choices of each rule. They are applied together or not at all."""
    sampled = traits.num_nodes > _FULL_BATCH_NODES or traits.num_edges > _FULL_BATCH_EDGES
    is_ticket = config.supermask.masks
    if config.task.kind == "link":
        yield from _link_rules(config, traits, sampled)
        return
    if config.batch.placement != "sharded":  # no host has the features of all nodes
        yield _features(traits)
    yield _architecture(traits)
    if reason := _square_layers(config, traits, sampled):
        yield iter([Choice("model.skip", "initial", reason)])
        if is_ticket:
            yield iter([Choice("supermask.min_layer_density", 0.3, "keeps some weights of the square layers")])
    yield _depth(config)
    yield _ticket_regularisation(traits) if is_ticket else _dense_regularisation(traits)
    if is_ticket:
        yield _logits(traits)
        yield _width(config, traits, sampled)
    if not config.batch.size:
        yield _batches(config, traits, is_ticket) if sampled else _full_batch(traits)
    if sampled or config.batch.size:
        yield _first_layer(traits)


def _link_rules(config: Config, traits: Traits, sampled: bool) -> Iterator[Iterator[Choice]]:
    """The rules of link prediction. Those about labels do not apply, as each edge is one."""
    yield _features(traits)
    yield _depth(config)
    if config.supermask.masks:
        width = config.task.embedding
        reason = f"a pair's logit, a sum of {width} products, has variance 1"
        yield iter([Choice("supermask.output_rms", round(width**-0.25, 2), reason)])
    if not config.batch.size:
        yield _link_batches(config, traits) if sampled else _full_batch(traits)


def _link_batches(config: Config, traits: Traits) -> Iterator[Choice]:
    steps_an_epoch = -(-traits.num_edges // _LINK_BATCH_SIZE)
    epochs = max(_FEWEST_EPOCHS, -(-_SAMPLED_STEPS // steps_an_epoch))
    yield Choice("batch.size", _LINK_BATCH_SIZE, _size(traits))
    yield Choice("batch.fan_out", [15, *[10] * (config.model.depth - 1)], _size(traits))
    yield Choice("run.epochs", epochs, f"about {epochs * steps_an_epoch:,} steps of {_LINK_BATCH_SIZE:,} edges")
    yield Choice("run.evaluate_every", max(1, epochs // 10), "an evaluation sees all nodes")


def _features(traits: Traits) -> Iterator[Choice]:
    if not traits.varies:
        return
    if traits.density >= DENSE_FROM:
        yield Choice("data.features", "standardize", f"{traits.density:.0%} of the features are not zero")
    elif traits.spread >= EXTREME:
        scale = f"a column has {traits.spread:,.0f} times the deviation of the median one"
        yield Choice("data.features", "standardize", scale)


def _architecture(traits: Traits) -> Iterator[Choice]:
    """If neighbours say little about a node's class, a layer has to distinguish the node from them.

    With edge weights the rule is left out: gcn alone reads them.
    """
    if not traits.weighted and traits.num_known_edges >= _TELLING_EDGES and traits.homophily < _HOMOPHILY:
        yield Choice("model.arch", "sage", f"homophily of the training labels is {traits.homophily:.2f}")


def _depth(config: Config) -> Iterator[Choice]:
    """What deep networks need in order to learn, as in the presets cora-gcn-deep and so on."""
    reason = f"model.depth is {config.model.depth}"
    if config.model.depth < DEEP:
        return
    yield Choice("model.skip", "initial", reason)
    yield Choice("model.dropout_at", "input", reason)
    if config.supermask.masks:
        yield Choice("supermask.weight_init", "balanced", reason)
        yield Choice("supermask.min_layer_density", 0.3, reason)
        yield Choice("supermask.calibrate_at", config.supermask.sparsity, reason)


def _square_layers(config: Config, traits: Traits, sampled: bool) -> str:
    """Why the network needs square layers with a skip; empty if it does not. Deep networks have a rule of their own.

    Square layers combine few features. The global threshold would mask such layers completely, because their initial
    scores are smaller than those of the inputs. A full batch of depth 3 recovers from this, a sampled one does not.
    """
    if config.model.depth >= DEEP:
        return ""
    if traits.num_features <= _FEW_FEATURES:
        return f"{traits.num_features} features: square layers combine them"
    if sampled and config.supermask.masks and config.model.depth > 2:
        return f"model.depth is {config.model.depth}, sampled"
    return ""


def _labels_and_features(traits: Traits) -> str:
    return f"{traits.num_labels:,} labels for {traits.num_features:,} features"


def _ticket_regularisation(traits: Traits) -> Iterator[Choice]:
    for below, dropout in ((_FEW, 0.8), (_SOME, 0.5), (_MANY, 0.2)):
        if traits.labels_a_feature < below:
            yield Choice("model.dropout", dropout, _labels_and_features(traits))
            break
    if traits.labels_a_feature < _FEW:
        yield Choice("optim.weight_decay", 1e-4, _labels_and_features(traits))


def _dense_regularisation(traits: Traits) -> Iterator[Choice]:
    if traits.labels_a_feature < _MANY:
        yield Choice("model.dropout", 0.5, _labels_and_features(traits))
        yield Choice("optim.weight_decay", 5e-4, _labels_and_features(traits))


def _logits(traits: Traits) -> Iterator[Choice]:
    """Small logits keep the loss of few labels from vanishing, but underfit many labels or classes."""
    by_labels = min(1.0, max(0.1, traits.labels_a_feature / 4.0))
    many_classes = traits.has_classes and traits.labels_a_feature >= _MANY
    by_classes = max(1.0, traits.num_classes / 8.0) if many_classes else 1.0
    what = "classes" if traits.has_classes else "labels or targets"
    reason = f"{traits.labels_a_feature:.2g} labels for each feature, {traits.num_classes} {what}"
    yield Choice("supermask.output_rms", round(by_labels * by_classes, 2), reason)


def _width(config: Config, traits: Traits, sampled: bool) -> Iterator[Choice]:
    """A ticket's weight takes a bit or less, so it can have more of them to choose from."""
    sparsity, bits = config.supermask.sparsity, "a weight of a ticket takes a bit or less"
    if traits.num_features <= _FEW_FEATURES:
        return  # square layers: wider ones are slow
    if sampled and config.model.depth > 2:
        yield Choice("model.width", 512, f"model.depth is {config.model.depth}: wider square layers are slow")
    elif sampled and sparsity >= _SPARSE_FROM and traits.num_nodes <= _WIDEST_NODES:
        yield Choice("model.width", 2048, f"sparsity {sparsity:g}: {bits}")
    elif sampled:
        yield Choice("model.width", 1024, bits)
    elif traits.num_features <= _NARROW:
        yield Choice("model.width", 512, f"{traits.num_features:,} features: {bits}")


def _full_batch(traits: Traits) -> Iterator[Choice]:
    yield Choice("run.epochs", _FULL_BATCH_EPOCHS, f"{_size(traits)}: full batch")
    yield Choice("run.evaluate_every", 2, "an evaluation takes as long as a step")


def _size(traits: Traits) -> str:
    return f"{traits.num_nodes:,} nodes, {traits.num_edges:,} edges"


def _batches(config: Config, traits: Traits, is_ticket: bool) -> Iterator[Choice]:
    batch = min(_BATCH_SIZE, traits.num_labels)
    epochs = min(200, max(_FEWEST_EPOCHS, -(-_SAMPLED_STEPS * batch // traits.num_labels)))
    yield Choice("batch.size", batch, _size(traits))
    yield Choice("batch.fan_out", [15, *[10] * (config.model.depth - 1)], _size(traits))
    yield Choice("run.epochs", epochs, f"{epochs * traits.num_labels // batch:,} steps of {batch:,} labels")
    yield Choice("run.evaluate_every", max(1, epochs // 10), "an evaluation sees all nodes")
    yield Choice("optim.schedule", "cosine", "few epochs")
    yield _sampled_rate(config, traits)
    if is_ticket:
        yield Choice("supermask.ramp", 0.25, "few epochs")
    if is_ticket and config.model.depth < DEEP:  # deep networks have it already
        yield Choice("supermask.weight_init", "balanced", "what all inputs have in common cancels")


def _first_layer(traits: Traits) -> Iterator[Choice]:
    """Sums of dense features over all neighbours take no more memory than the features; those of sparse ones do."""
    if traits.density >= DENSE_FROM and 4 * traits.num_nodes * traits.num_features <= _LARGEST_TABLE:
        yield Choice("batch.first_layer", "exact", f"{traits.density:.0%} of the features are not zero: saves a hop")


def _sampled_rate(config: Config, traits: Traits) -> Choice:
    """Scores need a higher rate than weights, but square layers train badly if their masks change too fast."""
    if not config.supermask.masks:
        return Choice("optim.lr", 0.003, "few epochs")
    if traits.num_features <= _FEW_FEATURES or config.model.depth > 2:
        return Choice("optim.lr", 0.001, "square layers")
    return Choice("optim.lr", 0.03, "few epochs")


def advice(config: Config, graph: Graph, valid: float, path: Path) -> str:
    """A line about a network that is no better than the most frequent class, with a remedy; otherwise empty.

    Empty also for other tasks than classes of nodes, and for other metrics than accuracy.

    Args:
        valid: its validation accuracy.
        path: its file.
    """
    if config.task.kind == "link" or config.task.metric not in ("auto", "accuracy") or not graph.has_classes:
        return ""
    labels = graph.y[graph.valid]
    commonest = float(labels.bincount().max()) / labels.numel()
    if valid > min(commonest + _MARGIN, 1.0 - 1e-9):
        return ""
    text = f"validation accuracy {valid:.3f} is that of the most frequent class ({commonest:.3f})"
    return f"{text}: nothing was learnt; try {_remedy(config, graph, path)}"


def _remedy(config: Config, graph: Graph, path: Path) -> str:
    ticket, model = config.supermask.masks, config.model
    if model.depth >= DEEP and model.skip == "none" and not model.factory:
        deep = "--model.skip initial --model.dropout-at input"
        return f"{deep} --supermask.weight-init balanced --supermask.min-layer-density 0.3" if ticket else deep
    masked = [name for name, mask in Ticket.load(path).masks.items() if not mask.any()] if ticket else []
    if masked:
        return f"--supermask.min-layer-density 0.3 (no weight of {', '.join(masked)} is left)"
    if not is_standardized(config.data.features) and density(graph.some_features) >= DENSE_FROM:
        return "--data.features standardize"
    if ticket and config.supermask.output_rms < 1.0:
        return "--supermask.output-rms 1"
    if ticket and config.supermask.sparsity > 0.5:
        wider = "wider layers" if model.factory else f"a larger --model.width ({4 * model.width})"
        return f"{wider} or a smaller --supermask.sparsity (0.5)"
    return "another --optim.lr, and check whether features or neighbours determine the classes at all"
