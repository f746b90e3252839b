"""Outputs of each layer against PyG's own layers; the same on any number of ranks."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from tests.evaluation.test_evaluator import ARCHS, edge_index, plain_layer
from tests.processes import spawn
from tests.training.helpers import config, planted_graph
from ugts_dist.analysis.calibration import calibration
from ugts_dist.analysis.gradients import batches_of_a_step, gradient_norms
from ugts_dist.analysis.ood import detect
from ugts_dist.analysis.smoothing import mad_of_layers
from ugts_dist.analysis.subject import Subject, open_config, open_subject, outputs_of
from ugts_dist.analysis.trace import trace_training
from ugts_dist.checkpointing.saved_network import Named
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.evaluation import whole_graph
from ugts_dist.graphs.perturb import left_out_classes
from ugts_dist.supermask import Ticket
from ugts_dist.tasks import build_model
from ugts_dist.training.run import evaluate as measure

DEPTH = {"model__depth": 3, "batch__fan_out": [5, 5, 5]}


def subject_of(settings: Config, ranks: Ranks, num_nodes: int = 300) -> Subject:
    """An untrained network on a planted graph without one of its classes."""
    graph, unknown = left_out_classes(planted_graph(num_nodes), 0.3, 1)
    return Subject(Path("none.ticket"), settings, graph, unknown, build_model(settings, graph), ranks)


def pyg_outputs(subject: Subject) -> list[Tensor]:
    """The outputs of each layer for all nodes, by PyG's own layers."""
    model, graph = subject.model, subject.graph
    outputs = [graph.x]
    for k, conv in enumerate(model.convs):
        out = plain_layer(conv)(outputs[-1], edge_index(graph))
        last = k == model.depth - 1
        if last and model.skip is not None:
            out = (out.relu() + model.skip(outputs[-1])) / 2
        outputs.append(out if last else out.relu())
    return outputs[1:]


@pytest.mark.parametrize("arch", ARCHS)
def test_outputs_are_those_of_pygs_layers(arch: str) -> None:
    subject = subject_of(config(model__arch=arch, **DEPTH), Ranks())
    nodes = subject.graph.test
    with torch.no_grad():
        first, second, logits = pyg_outputs(subject)
    for layer, wanted in ((1, first), (2, second), (0, logits)):
        torch.testing.assert_close(outputs_of(nodes, subject, layer), wanted[nodes], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", [-1, 3, 4])
def test_a_layer_that_is_not_there_is_refused(layer: int) -> None:
    subject = subject_of(config(**DEPTH), Ranks())
    with pytest.raises(InputError, match=f"--layer is {layer}, allowed are 1 to 2, and 0 for the logits"):
        outputs_of(subject.graph.test, subject, layer)


def _look_as_rank(rank: int, world_size: int) -> dict[str, Any]:
    """Everything that ranks share, in chunks of at most 7 nodes."""
    ranks = Ranks(rank, world_size, process_group=dist.group.WORLD if world_size > 1 else None)
    with pytest.MonkeyPatch.context() as patch:  # also of this process, whose other tests would take many times as long
        patch.setattr(whole_graph, "CHUNK_EDGES", 90)
        patch.setattr(whole_graph, "CHUNK_ROWS", 7)
        return _look(ranks)


def _look(ranks: Ranks) -> dict[str, Any]:
    settings = config(**DEPTH, batch__micro_batches=2)
    subject = subject_of(settings, ranks, 301)  # no world size divides it
    step = batches_of_a_step(subject.task.batches(settings, ranks), 0)
    weights = dict(subject.model.named_parameters())
    return {
        "mad": mad_of_layers(subject.evaluator(), subject.model, ranks),
        "outputs": outputs_of(subject.graph.test, subject, 2).flatten().tolist(),
        "gradients": gradient_norms(subject.model, weights, subject.task, step, ranks),
        "roc_auc": detect(subject).roc_auc,
        "bins": [[row.count, row.accuracy, row.confidence] for row in calibration(subject, 4) if row.count],
    }


def test_ranks_share_the_work() -> None:
    alone = _look_as_rank(0, 1)
    for of_rank in spawn(2, _look_as_rank, 2):
        assert of_rank["mad"] == pytest.approx(alone["mad"], rel=1e-6)
        assert of_rank["outputs"] == pytest.approx(alone["outputs"], abs=1e-6)
        assert of_rank["gradients"] == pytest.approx(alone["gradients"], rel=1e-4)
        assert of_rank["roc_auc"] == pytest.approx(alone["roc_auc"], abs=1e-6)
        assert of_rank["bins"] == [pytest.approx(row, abs=1e-6) for row in alone["bins"]]


def _observe_as_rank(rank: int, world_size: int) -> Any:
    ranks = Ranks(rank, world_size, process_group=dist.group.WORLD if world_size > 1 else None)
    return trace_training(config(run__epochs=2), 1, ranks)


def test_ranks_observe_the_same() -> None:
    alone = _observe_as_rank(0, 1)
    first, second = spawn(2, _observe_as_rank, 2)
    assert first == second
    for a, b in zip(first.mad + first.gradients, alone.mad + alone.gradients, strict=True):
        assert a == pytest.approx(b, rel=1e-2)


# Files


def test_the_network_and_the_graph_of_a_run(ticket_run: Path, dense_run: Path) -> None:
    for folder, classes in ((ticket_run, 6), (dense_run, 10)):
        subject = open_subject(folder, Ranks())
        assert subject.graph.num_classes == classes
        assert (subject.unknown is None) == (classes == 10)
        predicted = outputs_of(subject.graph.test, subject).argmax(1)
        saved = measure(folder, Ranks()).saved
        accuracy = float((predicted == subject.graph.y[subject.graph.test]).double().mean())
        assert accuracy == pytest.approx(saved["test"], abs=1e-9)


def resaved(run: Path, folder: Path, **changes: Any) -> Path:
    """The ticket of a run, with another configuration."""
    ticket = Ticket.load(run / "best.ticket")
    changed = Config.from_dict(ticket.config, "").replace({k.replace("__", "."): v for k, v in changes.items()})
    dataclasses.replace(ticket, config=changed.to_dict()).save(folder / "a.ticket")
    return folder / "a.ticket"


def test_what_does_not_fit_is_refused(ticket_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UGTS_DATA", str(tmp_path / "none"))
    for changes, message in (
        ({"data__left_out": 0.2}, "does not fit the network that it describes"),
        ({"data__name": "cora"}, "UGTS_DATA: cora needs "),
        ({"data__name": "ogbg-molhiv", "data__left_out": 0.0}, r"a network of whole graphs \(ogbg-molhiv\)"),
        ({"data__name": "digitz"}, "is not a dataset"),
    ):
        path = resaved(ticket_run, tmp_path, **changes)
        with pytest.raises(InputError, match=message) as refusal:
            open_subject(path, Ranks())
        assert "\n" not in str(refusal.value)


def test_other_places_of_the_data(ticket_run: Path, tmp_path: Path) -> None:
    path = resaved(ticket_run, tmp_path)
    assert open_config(path).data.root == ""
    assert open_config(path, Named(root="elsewhere")).data.root == "elsewhere"
    (tmp_path / "config.toml").write_text(config(data__root="here").to_toml())
    assert open_config(path).data.root == "here"
    assert open_config(path, Named(root="elsewhere")).data.root == "elsewhere"
