"""The Python interface: find a ticket, or train the dense network beside it, in one call.

The command line calls the same functions of `training.run`.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from torch import nn
from torch_geometric.data import Data

from ugts_dist.checkpointing.network_files import network_file
from ugts_dist.checkpointing.result_file import NAME as RESULT
from ugts_dist.checkpointing.result_file import find_result
from ugts_dist.checkpointing.saved_network import Named, load_saved
from ugts_dist.config import Config, load_preset, load_toml
from ugts_dist.distributed.ranks import Ranks, ranks_from_environment
from ugts_dist.errors import InputError
from ugts_dist.graphs.catalogue import stores_folder
from ugts_dist.graphs.checksum import DataChecksum, with_digests
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.in_memory import graph_of
from ugts_dist.graphs.store_writer import write_store
from ugts_dist.models import plain_module
from ugts_dist.supermask import Ticket
from ugts_dist.training.run import evaluate, fit_settings, run

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

GraphLike: TypeAlias = Data | str | Path


@dataclass(frozen=True)
class TrainedNetwork:
    """A finished run.

    Attributes:
        folder: of the run: its configuration, metrics and network. `ugts report FOLDER` shows them.
        metric: its name.
        valid, test: the metric in the best epoch by validation.
        bytes: size of the saved network.
        seconds: of training and evaluation.
        factory: the code of an own network, as in `model.factory`; empty for the networks of this program.
    """

    folder: Path
    metric: str
    valid: float
    test: float
    bytes: int
    seconds: float
    factory: str = ""

    @classmethod
    def open(cls, folder: str | Path, factory: str = "") -> Self:
        """A finished run of any time, from its folder. Raises InputError for anything else.

        `factory`: the code of an own network, MODULE:FUNCTION or PATH/TO/FILE.py:FUNCTION.
        """
        path = Path(folder)
        result = find_result(path)
        if result is None:
            raise InputError(f"{path}: is not a finished run, allowed is a folder with {RESULT}")
        finished = cls(path, *(result[name] for name in ("metric", "valid", "test", "bytes", "seconds")))
        return replace(finished, factory=factory)

    @classmethod
    def _run(cls, config: Config, given: tuple[str, ...]) -> Self:
        """Run the configuration on all ranks; rules choose what is not given."""
        with ranks_from_environment(config.run.device, config.run.timeout) as ranks:
            reasons: list[str] = []
            if given:
                config, reasons = fit_settings(config, ranks, given)
            result, folder = run(config, ranks, reasons=reasons)
            num_bytes = int(ranks.broadcast_text(str(result.bytes)))  # only the main rank sees the file
        factory = config.model.factory
        return cls(folder, result.metric, result.valid, result.test, num_bytes, result.seconds, factory)

    @property
    def config(self) -> Config:
        """The configuration, with the settings that the rules have chosen."""
        return load_toml(self.folder / "config.toml")

    @property
    def path(self) -> Path:
        """The saved network: a ticket, or the weights of a dense network."""
        return network_file(self.folder)

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row for each evaluated epoch: sparsity, loss, valid, test, lr, threshold."""
        import pandas as pd

        lines = (self.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return pd.DataFrame([json.loads(line) for line in lines]).set_index("epoch")

    def plot(self) -> Figure:
        """Validation and test metric over the epochs, and the sparsity: a figure of matplotlib."""
        from ugts_dist.plots import new_plot

        figure, axes = new_plot(6.0, 3.5)
        for split, title in (("valid", "validation"), ("test", "test")):
            axes.plot(self.history.index, self.history[split], label=title)
        axes.set(xlabel="epoch", ylabel=self.metric)
        axes.legend(loc="lower right")
        beside = axes.twinx()
        beside.plot(self.history.index, self.history["sparsity"], color="gray", linestyle=":")
        beside.set(ylabel="sparsity (dotted)", ylim=(0.0, 1.0))
        return figure

    def model(self) -> nn.Module:
        """A new network with the saved weights, in evaluation mode; of an own one, what its factory returns."""
        return plain_module(load_saved(self.path).with_factory(self.factory).network()).eval()

    def evaluate(self, data: GraphLike | None = None, **options: Any) -> dict[str, float]:
        """The metric on the validation and test data of the run's graph, or of another one.

        Args:
            data: as in `find_ticket`; by default the graph of the run.
            options: of a `Data`, as in `find_ticket`.
        """
        named = Named("" if data is None else graph_name(data, **options), factory=self.factory)
        with ranks_from_environment(self.config.run.device) as ranks:
            return evaluate(self.path, ranks, named).measured

    def predict(self, data: GraphLike | None = None, **options: Any) -> pd.DataFrame:
        """A row for each node (or graph): the predicted class and the probability of each class, or the targets.

        On several ranks, only the main rank gets the rows.

        Args:
            data: as in `find_ticket`; by default the graph of the run.
            options: of a `Data`, as in `find_ticket`.
        """
        import pandas as pd

        from ugts_dist.tickets.options import PredictOptions
        from ugts_dist.tickets.predict import predict

        graph = "" if data is None else graph_name(data, **options)
        with tempfile.TemporaryDirectory() as folder, ranks_from_environment(self.config.run.device) as ranks:
            out = f"{folder}/predictions.parquet"
            predict(PredictOptions(str(self.path), out, graph=graph, factory=self.factory), ranks)
            return pd.read_parquet(out) if ranks.is_main else pd.DataFrame()


@dataclass(frozen=True)
class FoundTicket(TrainedNetwork):
    """A finished search for a ticket."""

    @property
    def ticket(self) -> Ticket:
        """Seed, gains and masks: everything needed to rebuild the network."""
        return Ticket.load(self.path)


def find_ticket(
    data: GraphLike,
    model: str | None = None,
    sparsity: float | None = None,
    *,
    epochs: int | None = None,
    batch_size: int | None = None,
    fan_out: tuple[int, ...] | None = None,
    seed: int | None = None,
    folder: str | Path = "",
    settings: Mapping[str, Any] | None = None,
    preset: str = "",
    **options: Any,
) -> FoundTicket:
    """Find an untrained ticket in a graph. On several ranks, every rank calls it.

    What is not given comes from the preset, or is chosen by the rules of `ugts train` from properties of the graph, and
    is written to config.toml. A run that was interrupted resumes if it is called again with the same folder.

    Args:
        data: a PyG `Data` with x, edge_index, y and masks; the folder of a store; or the name of a dataset. A `Data` is
            written once as a store to the folder of prepared graphs (`UGTS_STORES`), where the ticket finds it again.
            Link prediction, `settings={"task.kind": "link"}`, needs neither y nor masks.
        model: the architecture: gcn, gin, gat or sage; or a function that builds your own network of PyG's layers,
            MODULE:FUNCTION or PATH/TO/FILE.py:FUNCTION, with arguments in `settings`: {"model.args.width": 64}.
        sparsity: fraction of the weights that are masked; 0.9 if neither this nor a preset says another one.
        epochs: passes over the training nodes.
        batch_size: training nodes of one step on all ranks; 0: the full batch.
        fan_out: sampled neighbours of each layer; -1: all.
        seed: of the run: weights, batches, dropout; 0 by default.
        folder: of the run; by default a new one below runs/.
        settings: further fields of the configuration, {"optim.lr": 0.01}.
        preset: start from a preset instead of the rules.
        options: of a `Data`: `name`, `split` (the column of masks with several splits), and `random_split`
            ("60/20/20") for one without masks.

    Raises: InputError, before training, for anything that is not allowed.
    """
    changes = {"supermask.sparsity": sparsity, **(settings or {})}
    return FoundTicket._run(*_config(data, model, epochs, batch_size, fan_out, seed, folder, changes, preset, options))


def train_dense(
    data: GraphLike,
    model: str | None = None,
    *,
    epochs: int | None = None,
    batch_size: int | None = None,
    fan_out: tuple[int, ...] | None = None,
    seed: int | None = None,
    folder: str | Path = "",
    settings: Mapping[str, Any] | None = None,
    preset: str = "",
    **options: Any,
) -> TrainedNetwork:
    """Train the weights of the same network without a mask, which a ticket has to match. Arguments of `find_ticket`."""
    changes = {**(settings or {}), "supermask.method": "dense"}
    return TrainedNetwork._run(
        *_config(data, model, epochs, batch_size, fan_out, seed, folder, changes, preset, options)
    )


def graph_name(data: GraphLike, name: str = "", split: int = 0, random_split: str = "") -> str:
    """The name or folder under which a graph is loaded. A `Data` is written as a store first, once for equal data."""
    if not isinstance(data, Data):
        if random_split or name or split:
            raise InputError(
                "name, split and random_split belong to a PyG Data; allowed for a dataset: settings={'data.split': 1}, "
                "for a store: `ugts prepare --split-random`"
            )
        return str(data)
    graph = with_digests(graph_of(data, name or "graph", split, random_split))
    folder = stores_folder() / "memory" / f"{graph.name}-{_identity(graph)}"
    with ranks_from_environment("cpu") as ranks:
        ranks.raise_together(lambda: _write_once(graph, folder, ranks))
    return str(folder)


def _identity(graph: Graph) -> str:
    """The first digits of a SHA-256 of the arrays, and of the names of the classes if there are any."""
    digest = DataChecksum.of(graph).sha256
    if graph.class_names:
        digest = hashlib.sha256("\n".join((digest, *graph.class_names)).encode()).hexdigest()
    return digest[:12]


def _write_once(graph: Graph, folder: Path, ranks: Ranks) -> None:
    """Write the store on the main rank, unless it is there already."""
    if ranks.is_main and not (folder / "meta.json").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        write_store(graph, folder)


def _config(
    data: GraphLike,
    model: str | None,
    epochs: int | None,
    batch_size: int | None,
    fan_out: tuple[int, ...] | None,
    seed: int | None,
    folder: str | Path,
    changes: Mapping[str, Any],
    preset: str,
    options: Mapping[str, Any],
) -> tuple[Config, tuple[str, ...]]:
    """The configuration, and the fields that the rules leave as they are; none of them with a preset."""
    own = model is not None and ":" in model
    given = {
        "data.name": graph_name(data, **options),
        **({"model.factory": model, "model.depth": 0} if own else {"model.arch": model}),
        "run.seed": seed,
        "run.epochs": epochs,
        "batch.size": batch_size,
        "batch.fan_out": fan_out,
        "run.folder": str(folder) or None,
        **changes,
    }
    given = {field: value for field, value in given.items() if value is not None}
    config = (load_preset(preset) if preset else Config()).replace(given)
    return config, () if preset else tuple(given)
