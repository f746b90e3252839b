"""Predictions for all nodes: compared with a dense forward pass written out here, for one process and for two."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.distributed as dist
from ogb.graphproppred import Evaluator as OGBEvaluator
from pyarrow import parquet
from torch import Tensor

from tests.graphs.molecule_files import random_molecules, write_molecules
from tests.processes import spawn
from tests.tickets.helpers import config_of, saved, ticket_of
from tests.training.helpers import planted_graph
from ugts_dist.checkpointing.saved_network import Named
from ugts_dist.cli import main
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.evaluation import whole_graph
from ugts_dist.evaluation.node_tables import NodeTables
from ugts_dist.graphs.configured import load_graph
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.molecules import FOLDERS, GraphSet, read
from ugts_dist.graphs.store_writer import write_store
from ugts_dist.supermask import Ticket, sparsify
from ugts_dist.tasks.graphs import GraphTask
from ugts_dist.tickets import predict as module
from ugts_dist.tickets.options import PredictOptions
from ugts_dist.tickets.predict import Predictions, predict
from ugts_dist.training.run import evaluate as measure

NAME = "ogbg-molbace"
COUNT = 260  # more than one group


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UGTS_STORES", str(tmp_path))
    write_store(planted_graph(num_nodes=301), tmp_path / "store")
    return tmp_path / "store"


def ticket_on(store: Path, arch: str = "gcn", depth: int = 2, **sizes: int) -> Ticket:
    return ticket_of(config_of(arch, depth, data__name=store.name), **{"features": 16, "classes": 4, **sizes})


def ranks_of(rank: int, world_size: int) -> Ranks:
    return Ranks(rank, world_size, process_group=dist.group.WORLD if world_size > 1 else None)


def dense_logits(graph: Graph, ticket: Ticket) -> Tensor:
    """GCN by dense matrices, from the masked weights alone."""
    n = graph.num_nodes
    adjacency = torch.eye(n, dtype=torch.float64)
    for node in range(n):
        adjacency[node, graph.indices[graph.indptr[node] : graph.indptr[node + 1]].long()] = 1.0
    scale = adjacency.sum(1).rsqrt()
    adjacency = scale[:, None] * adjacency * scale
    hidden = graph.x.double()
    weights = [
        (weight * ticket.scales[name] * ticket.masks[name]).double() for name, weight in ticket.weights().items()
    ]
    for k, weight in enumerate(weights):
        hidden = adjacency @ (hidden @ weight.t())
        hidden = hidden.relu() if k < len(weights) - 1 else hidden
    return hidden


def predict_rank(rank: int, world_size: int, options: PredictOptions) -> Predictions:
    """In chunks of at most 7 nodes and about 90 edges."""
    whole_graph.CHUNK_EDGES, whole_graph.CHUNK_ROWS = 90, 7
    return predict(options, ranks_of(rank, world_size))


def probabilities(table: pa.Table) -> Tensor:
    names = [name for name in table.column_names if name.startswith("p_")]
    assert names == [f"p_{k}" for k in range(len(names))]
    return torch.from_numpy(np.stack([table[name].to_numpy() for name in names], axis=1))


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_probabilities_are_those_of_a_dense_forward_pass(world_size: int, store: Path) -> None:
    graph, ticket = planted_graph(num_nodes=301), ticket_on(store, depth=3)
    options = PredictOptions(str(saved(store.parent, ticket)), str(store.parent / "out.parquet"), graph=str(store))
    counts = spawn(world_size, predict_rank, world_size, options)
    assert counts[0].rows == graph.num_nodes
    file = parquet.ParquetFile(options.out)
    assert file.num_row_groups > 301 // 7
    table = file.read()
    assert table.schema.types == [pa.int64(), pa.int32(), *[pa.float32()] * 4]
    assert table.column_names[:2] == ["node", "prediction"]
    assert table["node"].to_pylist() == list(range(301))
    expected = dense_logits(graph, ticket)
    torch.testing.assert_close(probabilities(table), expected.softmax(1).float(), rtol=1e-4, atol=1e-6)
    assert torch.equal(torch.tensor(table["prediction"].to_pylist()), expected.argmax(1))
    names = sorted(path.name for path in store.parent.iterdir())
    assert names == ["a.ticket", "out.parquet", "store"], "temporary files are left"


@pytest.mark.parametrize("arch", ["gcn", "sage", "gat", "gin", "gin-paper"])
def test_accuracy_is_that_of_an_evaluation(arch: str, store: Path) -> None:
    graph = planted_graph(num_nodes=301)
    path = saved(store.parent, ticket_on(store, arch))
    out = store.parent / "out.parquet"
    predict(PredictOptions(str(path), str(out)), Ranks())
    predicted = torch.tensor(parquet.read_table(out)["prediction"].to_pylist())
    measured = measure(path, Ranks()).measured
    for split in ("valid", "test"):
        nodes = getattr(graph, split)
        assert float((predicted == graph.y)[nodes].double().mean()) == measured[split]


def test_another_graph_with_other_classes_and_as_many_features(store: Path) -> None:
    other = planted_graph(num_nodes=250, num_classes=6, seed=3)
    write_store(other, store.parent / "other")
    ticket = ticket_on(store)
    out = store.parent / "out.parquet"
    options = PredictOptions(str(saved(store.parent, ticket)), str(out), graph=str(store.parent / "other"))
    assert predict(options, Ranks()).rows == 250
    expected = dense_logits(other, ticket).softmax(1).float()
    assert expected.shape == (250, 4)
    torch.testing.assert_close(probabilities(parquet.read_table(out)), expected, rtol=1e-4, atol=1e-6)


def test_of_a_run_its_ticket_or_dense_network_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the command line, from end to end."""
    monkeypatch.chdir(tmp_path)
    options = ["--run.epochs", "2", "--model.width", "16", "--log.to", "--log.no-progress"]
    for method in ("ugts", "dense"):
        main(["train", "--preset", "digits", *options, "--run.folder", method, "--supermask.method", method])
        main(["predict", method, "--out", f"{method}.parquet"])
        evaluation = measure(Path(method), Ranks())
        table = parquet.read_table(f"{method}.parquet")
        graph = load_graph(evaluation.config)
        predicted = torch.tensor(table["prediction"].to_pylist())
        assert float((predicted == graph.y)[graph.test].double().mean()) == evaluation.measured["test"]
        torch.testing.assert_close(probabilities(table).sum(1), torch.ones(graph.num_nodes))
        assert torch.equal(probabilities(table).argmax(1), predicted)


# Whole graphs


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data")
    folder = path / "ogb" / FOLDERS[NAME]
    write_molecules(folder, random_molecules(COUNT, unknown=0.05), [range(90), range(90, 170), range(170, COUNT)])
    return path


def molecules(root: Path, folder: Path) -> tuple[GraphSet, Path]:
    """The graphs, and a ticket for them."""
    config = config_of("gcn", data__name=NAME)
    graphs = read(root / "ogb" / FOLDERS[NAME], NAME)
    mask = sparsify(GraphTask(graphs).network(config))
    mask.step(0.5)
    return graphs, saved(folder, Ticket.of(mask, config.to_dict()))


def predict_graphs(rank: int, world_size: int, options: PredictOptions) -> Predictions:
    module._GRAPHS_AT_ONCE, module._BATCHES_A_CHUNK = 50, 2
    return predict(options, ranks_of(rank, world_size))


@pytest.mark.parametrize("world_size", [1, 2])
def test_each_graph_has_a_row(world_size: int, root: Path, tmp_path: Path) -> None:
    graphs, path = molecules(root, tmp_path)
    options = PredictOptions(str(path), str(tmp_path / "out.parquet"), root=str(root))
    assert spawn(world_size, predict_graphs, world_size, options)[0].rows == COUNT
    table = parquet.read_table(options.out)
    assert table.column_names == ["graph", "p_0"]
    assert table["graph"].to_pylist() == list(range(COUNT))
    measured = measure(path, Ranks(), Named(root=str(root))).measured
    for split, ids in (("valid", graphs.valid), ("test", graphs.test)):
        judged = {"y_true": graphs.y[ids].numpy(), "y_pred": probabilities(table)[ids].double().numpy()}
        assert OGBEvaluator(NAME).eval(judged)["rocauc"] == pytest.approx(measured[split], abs=1e-6)


# Mistakes


def refused(options: PredictOptions) -> str:
    """The one line with which the options are refused; nothing is written."""
    before = sorted(Path(options.out).parent.iterdir())
    with pytest.raises(InputError) as caught:
        predict(options, Ranks())
    assert sorted(Path(options.out).parent.iterdir()) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_data_that_do_not_fit(store: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: Any) -> None:
        raise AssertionError("computed before it was refused")

    monkeypatch.setattr(module, "_logits", never)
    out = str(store.parent / "out.parquet")
    narrow = str(saved(store.parent, ticket_on(store, features=15)))
    assert "--graph is planted, whose nodes have 16 features; allowed are 15, as" in refused(
        PredictOptions(narrow, out)
    )
    told = refused(PredictOptions(narrow, out, graph=NAME, root=str(root)))
    assert f"--graph is {NAME}, with whole graphs, but {narrow} predicts for nodes of one graph" in told
    _, path = molecules(root, store.parent)
    told = refused(PredictOptions(str(path), out, graph=str(store)))
    assert f"--graph is planted, with nodes of one graph, but {path} predicts for whole graphs" in told
    assert "is not a dataset" in refused(PredictOptions(narrow, out, graph="corra"))


def test_networks_that_do_not_fit_their_configuration(store: Path) -> None:
    out = str(store.parent / "out.parquet")
    ticket = ticket_on(store)
    ticket.config["model"]["arch"] = "sage"
    assert "does not fit the network that it describes" in refused(
        PredictOptions(str(saved(store.parent, ticket)), out)
    )
    ticket.config["model"] |= {"arch": "gcn", "depth": 1}
    assert "does not fit the network that it describes" in refused(
        PredictOptions(str(saved(store.parent, ticket)), out)
    )
    ticket.config = {}
    assert "a ticket without a configuration" in refused(PredictOptions(str(saved(store.parent, ticket)), out))


def test_an_existing_file_is_left_alone(store: Path) -> None:
    path = saved(store.parent, ticket_on(store))
    assert "which exists; allowed is a new file" in refused(PredictOptions(str(path), str(path)))


def fail_rank(rank: int, world_size: int, options: PredictOptions, fault: Callable[[], None]) -> str:
    """What each rank reports when the disk is full."""
    fault()
    whole_graph.CHUNK_EDGES, whole_graph.CHUNK_ROWS = 90, 7
    with pytest.raises(InputError) as caught:
        predict(options, ranks_of(rank, world_size))
    return str(caught.value)


def full_disk() -> None:
    written = parquet.ParquetWriter.write_table
    rows: list[int] = []

    def write_table(self: Any, table: pa.Table) -> None:
        rows.append(table.num_rows)
        if sum(rows) > 100:
            raise OSError(errno.ENOSPC, "No space left on device")
        written(self, table)

    parquet.ParquetWriter.write_table = write_table


def full_memory() -> None:
    def empty(*args: Any) -> Tensor:
        raise InputError("evaluation: a table of 1.00 GiB for all nodes does not fit")

    NodeTables.empty = empty  # type: ignore[method-assign,assignment]


@pytest.mark.parametrize(("fault", "message"), [(full_disk, "No space left"), (full_memory, "a table of 1.00 GiB")])
def test_a_failure_ends_every_rank_and_leaves_nothing(fault: Callable[[], None], message: str, store: Path) -> None:
    path = saved(store.parent, ticket_on(store))
    # Ranks may be forks of a process from before the fixture, which does not know where its stores are.
    options = PredictOptions(str(path), str(store.parent / "out.parquet"), graph=str(store))
    told = spawn(2, fail_rank, 2, options, fault)
    assert told[0] == told[1]
    assert message in told[0]
    assert sorted(store.parent.iterdir()) == [path, store]


def test_features_in_half_precision(store: Path) -> None:
    graph = planted_graph(num_nodes=301)
    half = dataclasses.replace(graph, x=graph.x.bfloat16())
    write_store(half, store.parent / "half")
    ticket = ticket_on(store.parent / "half")
    out = store.parent / "out.parquet"
    predict(PredictOptions(str(saved(store.parent, ticket)), str(out)), Ranks())
    expected = dense_logits(half, ticket).softmax(1).float()
    torch.testing.assert_close(probabilities(parquet.read_table(out)), expected, rtol=5e-2, atol=5e-2)
