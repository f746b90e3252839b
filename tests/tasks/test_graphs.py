"""Graph-level runs: metric, loss, ranks, folders."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from ogb.graphproppred import Evaluator as OGBEvaluator
from sklearn.metrics import roc_auc_score
from torch import Tensor

from tests.graphs.molecule_files import random_molecules, write_molecules
from tests.processes import spawn
from tests.training.helpers import QUIET, equal_share
from ugts_dist.cli import main
from ugts_dist.config import Config, load_preset
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.graphs.molecules import FOLDERS, GraphSet, read
from ugts_dist.supermask import Ticket
from ugts_dist.tasks.graphs import GraphBatches, GraphEvaluator, GraphTask
from ugts_dist.training.fit import Result, fit
from ugts_dist.training.run import evaluate, run

NAME = "ogbg-molbace"
COUNT = 260  # more than one group of an evaluation


def write(root: Path) -> Path:
    """A dataset below a root; returns its folder."""
    folder = root / "ogb" / FOLDERS[NAME]
    write_molecules(folder, random_molecules(COUNT, unknown=0.05), [range(90), range(90, 170), range(170, COUNT)])
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data")
    write(path)
    return path


@pytest.fixture(scope="module")
def graphs(root: Path) -> GraphSet:
    return read(root / "ogb" / FOLDERS[NAME], NAME)


def config(**changes: Any) -> Config:
    """A short run on a small network; `a__b=v` sets field a.b."""
    small = {"model.width": 16, "model.depth": 2, "batch.size": 30, "batch.fan_out": [-1, -1], "run.epochs": 6}
    return (
        load_preset("molbace-gcn")
        .replace({**QUIET, **small, "optim.lr": 0.01, "optim.schedule": "constant"})
        .replace({key.replace("__", "."): value for key, value in changes.items()})
    )


def alone(rank: int, world_size: int) -> Ranks:
    """A rank without the others: for what needs no collective."""
    return Ranks(rank, world_size)


def in_group(rank: int, world_size: int) -> Ranks:
    return Ranks(rank, world_size, process_group=dist.group.WORLD)


def fit_rank(rank: int, world_size: int, settings: Config, data: str, folder: str) -> tuple[Result, dict[str, Tensor]]:
    result = fit(settings, read(Path(data), NAME), in_group(rank, world_size), Path(folder))
    dist.barrier()
    return result, Ticket.load(Path(folder) / "best.ticket").masks


def evaluator_of(graphs: GraphSet, ranks: Ranks) -> GraphEvaluator:
    return GraphTask(graphs).evaluator(config(), ranks)


def measure_rank(rank: int, world_size: int, data: str) -> tuple[dict[str, float], float]:
    graphs = read(Path(data), NAME)
    model = GraphTask(graphs).network(config())
    return evaluator_of(graphs, in_group(rank, world_size)).measure(model, torch.tensor(float(rank)))


def test_roc_auc_is_that_of_the_known_labels_by_sklearn_and_ogb(graphs: GraphSet) -> None:
    model = GraphTask(graphs).network(config())
    evaluator = evaluator_of(graphs, Ranks())
    measured, loss = evaluator.measure(model, torch.tensor(1.5))
    logits = evaluator.logits(model).double().numpy()
    parts = {"valid": (graphs.valid, logits[:80]), "test": (graphs.test, logits[80:])}
    for name, (ids, predicted) in parts.items():
        y = graphs.y[ids].numpy()
        known = ~np.isnan(y[:, 0])
        assert not known.all()
        assert measured[name] == pytest.approx(roc_auc_score(y[known], predicted[known]), abs=1e-12)
        assert measured[name] == OGBEvaluator(NAME).eval({"y_true": y, "y_pred": predicted})["rocauc"]
    assert loss == 1.5


def test_each_graph_is_predicted_once_with_the_same_bits_for_every_world_size(root: Path, graphs: GraphSet) -> None:
    model = GraphTask(graphs).network(config())
    expected = evaluator_of(graphs, Ranks()).logits(model)
    for world_size in (2, 3, 7):  # seven ranks have fewer groups than ranks
        shares = [evaluator_of(graphs, alone(rank, world_size)).logits(model) for rank in range(world_size)]
        assert torch.equal(torch.stack(shares).sum(0), expected)
        assert bool(((torch.stack(shares) != 0).sum(0) == 1).all())
    measured, _ = evaluator_of(graphs, Ranks()).measure(model, torch.zeros(()))
    for predictions, loss in spawn(2, measure_rank, 2, str(root / "ogb" / FOLDERS[NAME])):
        assert predictions == measured
        assert loss == 1.0


def test_logits_do_not_depend_on_the_batch(graphs: GraphSet) -> None:
    task = GraphTask(graphs)
    model = task.network(config())
    ids = torch.cat([graphs.valid, graphs.test])
    swapped = dataclasses.replace(graphs, train=ids, valid=graphs.train, test=graphs.train)
    everything: dict[str, Any] = {"batch__size": 0, "batch__fan_out": []}
    batch = next(task_batches(swapped, **everything).epoch(0))
    logits = dict(zip(batch_ids(swapped, **everything), task.forward(model, batch), strict=True))
    expected = evaluator_of(graphs, Ranks()).logits(model)
    for graph, logit in zip(ids.tolist(), expected, strict=True):
        torch.testing.assert_close(logits[graph], logit)


def task_batches(graphs: GraphSet, rank: int = 0, world_size: int = 1, **changes: Any) -> GraphBatches:
    return GraphBatches(graphs, config(**changes), alone(rank, world_size))


def batch_ids(graphs: GraphSet, **changes: Any) -> list[int]:
    batches = task_batches(graphs, **changes)
    ids: list[int] = next(batches._loader.steps(range(1))).graph.tolist()
    return ids


@pytest.mark.parametrize("num_tasks", [1, 3])
def test_the_loss_is_the_mean_over_the_known_labels_of_all_ranks(graphs: GraphSet, num_tasks: int) -> None:
    rng = torch.Generator().manual_seed(0)
    y = torch.randint(0, 2, (COUNT, num_tasks), generator=rng).float()
    y[torch.rand(y.shape, generator=rng) < 0.3] = torch.nan
    graphs = dataclasses.replace(graphs, y=y)
    task = GraphTask(graphs)
    model = task.network(config())
    for epoch in range(2):
        whole = list(task_batches(graphs).epoch(epoch))
        shares = [list(task_batches(graphs, rank, 3).epoch(epoch)) for rank in range(3)]
        assert len({len(batches) for batches in [whole, *shares]}) == 1
        rest = list(task_batches(graphs).epoch(epoch, first_step=1))
        assert [batch.step for batch in rest] == [batch.step for batch in whole[1:]]
        assert all(torch.equal(one.nodes, other.nodes) for one, other in zip(rest, whole[1:], strict=True))
        for k, batch in enumerate(whole):
            logits = task.forward(model, batch)
            known = ~batch.y.isnan()
            expected = F.binary_cross_entropy_with_logits(logits[known], batch.y[known])
            torch.testing.assert_close(task.loss(logits, batch), expected)
            parts = [task.loss(task.forward(model, share[k]), share[k]) for share in shares]
            torch.testing.assert_close(torch.stack(parts).sum(), expected)
            nodes = torch.cat([share[k].nodes for share in shares])
            assert torch.equal(nodes, batch.nodes)
            assert torch.equal(graphs.x[nodes], batch.x)


def test_a_block_has_every_edge_and_the_degrees(graphs: GraphSet) -> None:
    batch = next(task_batches(graphs).epoch(0))
    destination = torch.arange(batch.block.num_dst).repeat_interleave(batch.block.indptr.diff())
    edges = {
        tuple(pair) for pair in torch.stack([batch.nodes[batch.block.indices], batch.nodes[destination]]).t().tolist()
    }
    expected = set()
    for graph in batch_ids(graphs):
        first = int(graphs.node_ptr[graph])
        own = graphs.edge_index[:, graphs.edge_ptr[graph] : graphs.edge_ptr[graph + 1]] + first
        expected |= {tuple(pair) for pair in own.t().tolist()}
    assert edges == expected
    assert torch.equal(batch.block.degree, torch.bincount(destination, minlength=batch.block.num_dst))


@pytest.mark.parametrize("method", ["ugts", "edge-popup", "dense"])
def test_every_method_learns(method: str, graphs: GraphSet, tmp_path: Path) -> None:
    """Whether a molecule has an atom of one kind, from the atoms alone."""
    kinds = torch.zeros_like(graphs.x)
    kinds[:, 0] = graphs.x[:, 0]
    settings = config(supermask__method=method, run__epochs=40, run__evaluate_every=10, model__dropout=0.0)
    result = fit(settings, dataclasses.replace(graphs, x=kinds), Ranks(), tmp_path)
    assert result.metric == "ROC-AUC"
    assert result.test > 0.9
    assert result.sparsity == pytest.approx(0.0 if method == "dense" else 0.5, abs=1e-3)


def test_masks_agree_for_every_world_size(root: Path, graphs: GraphSet, tmp_path: Path) -> None:
    settings = config(run__epochs=4)
    (tmp_path / "1").mkdir()
    single = fit(settings, graphs, Ranks(), tmp_path / "1")
    masks = Ticket.load(tmp_path / "1" / "best.ticket").masks
    (tmp_path / "2").mkdir()
    results = spawn(2, fit_rank, 2, settings, str(root / "ogb" / FOLDERS[NAME]), str(tmp_path / "2"))
    assert len({(result.epoch, result.valid, result.test, result.sparsity) for result, _ in results}) == 1
    result, own_masks = results[0]
    assert result.epoch == single.epoch
    assert equal_share(own_masks, masks) >= 0.999
    assert result.test == pytest.approx(single.test, abs=0.01)


def test_a_run_tells_its_metric_and_evaluate_finds_the_same(root: Path, tmp_path: Path) -> None:
    settings = config(run__epochs=2, run__folder=str(tmp_path / "mine"), data__root=str(root))
    result, folder = run(settings, Ranks())
    assert json.loads((folder / "result.json").read_text())["metric"] == result.metric == "ROC-AUC"
    evaluation = evaluate(folder, Ranks())
    saved = evaluation.saved
    assert (
        evaluation.measured
        == {"valid": saved["valid"], "test": saved["test"]}
        == {"valid": result.valid, "test": result.test}
    )


def test_the_command_line_tells_the_metric(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    settings = tmp_path / "config.toml"
    settings.write_text(config(run__epochs=2, run__folder=str(tmp_path / "mine"), data__root=str(root)).to_toml())
    main(["train", "--config", str(settings)])
    assert "test ROC-AUC 0." in capsys.readouterr().out
    main(["evaluate", str(tmp_path / "mine")])
    shown = capsys.readouterr().out
    assert shown.splitlines()[-1].startswith("test ROC-AUC 0.")
    assert "accuracy" not in shown


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"batch__fan_out": [-1, 3]}, r"batch\.fan_out is \[-1, 3\], allowed is -1 for each layer"),
        ({"batch__size": 1}, r"batch\.size: 1 is the number of seed nodes a step over all ranks; allowed: 2"),
        ({"batch__micro_batches": 2}, r"batch\.micro_batches is 2, allowed is 1"),
        ({"data__split": 2}, r"data\.split: 2 is not a split of ogbg-molbace"),
    ],
)
def test_mistakes_are_refused_before_there_is_a_folder(
    changes: dict[str, Any], told: str, root: Path, tmp_path: Path
) -> None:
    settings = config(data__root=str(root), run__folder=str(tmp_path / "mine"), **changes)
    with pytest.raises(InputError, match=told) as error:
        run(settings, alone(0, 2))
    assert "\n" not in str(error.value)
    assert not os.listdir(tmp_path)


def test_logits_that_are_not_finite_end_the_run(graphs: GraphSet, tmp_path: Path) -> None:
    """Nothing can be measured with them."""
    with pytest.raises(FloatingPointError, match=r"not finite in epoch 0: try a smaller optim\.lr"):
        fit(config(supermask__method="dense", optim__lr=1e30), graphs, Ranks(), tmp_path)
    assert not list(tmp_path.glob("best*"))
