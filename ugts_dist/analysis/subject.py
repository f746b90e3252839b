"""The subject of an analysis: a saved network with its graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ugts_dist.checkpointing.saved_network import Named, SavedNetwork, load_saved
from ugts_dist.config import Config, load_toml
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.evaluation.evaluator import Evaluator
from ugts_dist.graphs import molecules
from ugts_dist.graphs.configured import TrainingFeatures, load_graph, load_open_graph
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.perturb import Unknown
from ugts_dist.models import GNN
from ugts_dist.tasks import NodeTask, build_model
from ugts_dist.tasks.placement import evaluation_device

OfRows = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Subject:
    """A network and its graph, on every rank.

    Attributes:
        path: the file.
        config: of its run, with the place of the data.
        graph: as in training, with the configured noise and without the left-out classes.
        unknown: the left-out classes; None if there are none.
        model: on the rank's device.
        ranks: that share the work.
        trained_on: the features of its training; None if unknown.
    """

    path: Path
    config: Config
    graph: Graph
    unknown: Unknown | None
    model: GNN
    ranks: Ranks
    trained_on: TrainingFeatures | None = None

    @property
    def task(self) -> NodeTask:
        return NodeTask(self.graph, self.config.task, self.ranks.device)

    def of_classes(self) -> Subject:
        """The subject itself. Raises InputError, on every rank, if it predicts several labels or targets."""
        if not self.graph.has_classes:
            allowed = "allowed is one that predicts classes"
            raise InputError(f"{self.path}: a network that predicts numbers of {self.graph.name}; {allowed}")
        return self

    def evaluator(self, graph: Graph | None = None) -> Evaluator:
        """An evaluator for the network's own graph, or for another one."""
        return make_evaluator(self.graph if graph is None else graph, self.config, self.ranks)


@dataclass(frozen=True)
class Source:
    """A saved network before it is opened.

    Attributes:
        path: the file, or the folder of its run.
        ranks: that share the work.
        named: the data that the user names.
        spill: folder for layer outputs; empty: in memory.
    """

    path: Path
    ranks: Ranks
    named: Named
    spill: str

    def subject(self) -> Subject:
        """The network with its graph. Collective. Raises InputError as `open_subject`."""
        return open_subject(self.path, self.ranks, self.named, self.spill)

    def training_config(self) -> Config:
        """The configuration that repeats the run. Collective. Raises InputError."""
        config = self.ranks.raise_together(lambda: open_training_config(self.path, self.named, self.ranks))
        return config.replace({"run.spill": self.spill})


def open_subject(path: Path, ranks: Ranks, named: Named | None = None, spill: str = "") -> Subject:
    """Open a .ticket file, a dense network, or the folder of a run, with its graph. Collective.

    Raises InputError, on every rank, for other files, for a graph-level network, for missing data and for data that do
    not fit the network.
    """
    return ranks.raise_together(lambda: _opened(path, ranks, named or Named(), spill))


def open_config(path: Path, named: Named | None = None) -> Config:
    """The configuration of a saved node-level network, with the place of its data. Raises InputError."""
    return _of_nodes(path, load_saved(path).with_data(named or Named()))


def open_training_config(path: Path, named: Named, ranks: Ranks) -> Config:
    """The same, with the initial scores of the run, if the run's folder has a configuration with some."""
    saved = load_saved(path).with_data(named)
    config, beside = _of_nodes(path, saved), saved.path.parent / "config.toml"
    saved.note_other_data(load_graph(config), ranks)
    start = load_toml(beside).run.init_scores if beside.exists() else ""
    return config.replace({"run.init_scores": start})


def make_evaluator(graph: Graph, config: Config, ranks: Ranks) -> Evaluator:
    """The evaluator of a graph, on the device for evaluations."""
    return Evaluator(graph, ranks, evaluation_device(graph, config, ranks), config.run.spill)


def outputs_of(nodes: Tensor, subject: Subject, layer: int = 0, of_rows: OfRows = torch.clone) -> Tensor:
    """A layer's outputs of some nodes, in their order, on every rank and on the CPU. Collective.

    Args:
        nodes: ids, ascending, `[num_nodes]`.
        layer: from 1; 0: the logits.
        of_rows: maps outputs `[rows, width]` to the values to keep, `[rows, any width]`.

    Raises InputError for a layer that does not exist.
    """
    first, last = subject.ranks.share(subject.graph.num_nodes)
    own = nodes[(nodes >= first) & (nodes < last)]
    start, hidden, outputs = first, 0, list[Tensor]()

    def on_layer(number: int, rows: Tensor) -> None:
        nonlocal start, hidden
        hidden = max(hidden, number + 1)
        if number + 1 == layer:
            wanted = own[(own >= start) & (own < start + rows.shape[0])] - start
            outputs.append(of_rows(rows[wanted.to(rows.device)]).cpu())
            start += rows.shape[0]

    for logits in subject.evaluator().outputs(subject.model, on_layer):
        on_layer(-1, logits)
    if not outputs:
        raise InputError(f"--layer is {layer}, allowed are 1 to {hidden}, and 0 for the logits")
    mine = torch.cat(outputs)
    table = mine.new_zeros(nodes.numel(), mine.shape[1])
    table[torch.searchsorted(nodes, own)] = mine
    return subject.ranks.all_reduce_sum(table.to(subject.ranks.device)).cpu()


def _opened(path: Path, ranks: Ranks, named: Named, spill: str) -> Subject:
    saved = load_saved(path).with_data(named)
    config = saved.config
    graph, unknown = load_open_graph(_of_nodes(path, saved), saved.trained_on)
    saved.note_other_data(graph, ranks)
    model = saved.fill(build_model(config, graph)).to(ranks.device)
    assert isinstance(model, GNN)
    return Subject(saved.path, config.replace({"run.spill": spill}), graph, unknown, model, ranks, saved.trained_on)


def _of_nodes(path: Path, saved: SavedNetwork) -> Config:
    config = saved.config
    if saved.own is not None:
        raise InputError(f"{path}: a network of your own code; allowed are networks of this program")
    if config.data.name in molecules.FOLDERS:
        allowed = "allowed is one whose labels are of nodes"
        raise InputError(f"{path}: a network of whole graphs ({config.data.name}); {allowed}")
    if config.task.kind == "link":
        raise InputError(f"{path}: a network that predicts edges; allowed is one that predicts classes of nodes")
    return config
