"""Remedies for deep networks in whole runs: evaluation, ranks, full batches, saved networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from tests.processes import spawn
from tests.training.helpers import config, equal_share, fit_rank, planted_graph
from ugts_dist.checkpointing import checkpoint
from ugts_dist.checkpointing.saved_network import load_saved
from ugts_dist.cli import main
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.evaluation import whole_graph
from ugts_dist.evaluation.evaluator import Evaluator
from ugts_dist.evaluation.whole_graph import full_features, graph_block
from ugts_dist.graphs.configured import load_graph
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.molecules import GraphSet
from ugts_dist.models import GNN, Dropout
from ugts_dist.supermask import Ticket, sparsify
from ugts_dist.tasks import build_model
from ugts_dist.tasks.batches import Batch, make_batches
from ugts_dist.tasks.graphs import GraphTask
from ugts_dist.tickets.export import export
from ugts_dist.training.fit import fit
from ugts_dist.training.trainer import autocast

Settings = dict[str, Any]

FULL = {"batch.size": 0, "batch.fan_out": []}
REMEDIES: dict[str, Settings] = {
    "residual": {"model.skip": "residual"},
    "initial": {"model.skip": "initial"},
    "identity": {"model.skip": "initial", "model.identity": 0.5},
    "jumping": {"model.skip": "jumping"},
    "nodenorm": {"model.norm": "nodenorm"},
    "pairnorm": {"model.norm": "pairnorm"},
    "dropnode": {"model.graph_dropout": "dropnode"},
    "dropedge": {"model.graph_dropout": "dropedge"},
}
COMBINED = [
    {**REMEDIES["residual"], **REMEDIES["pairnorm"], "model.arch": "gat", "model.heads": 4},
    {**REMEDIES["initial"], **REMEDIES["nodenorm"], "model.arch": "gin"},
    {**REMEDIES["jumping"], **REMEDIES["pairnorm"], "model.arch": "sage"},
    {**REMEDIES["pairnorm"], "model.arch": "gin-paper"},
    {**REMEDIES["identity"], "model.arch": "gat", "model.heads": 4},
]
NETWORKS = [*list(REMEDIES.values())[:6], *COMBINED]


def settings_of(changes: Settings, depth: int = 3) -> Config:
    return config().replace({"model.depth": depth, "batch.fan_out": [4] * depth, **changes})


def whole_forward(model: GNN, graph: Graph) -> Tensor:
    """Logits of all nodes by one plain forward pass."""
    block = graph_block(graph, torch.device("cpu"))
    with torch.no_grad():
        return model(full_features(graph, torch.device("cpu")), [block] * model.depth)


def evaluated(
    rank: int, world_size: int, spill: str = "", machine: str = "one", chunks: tuple[int, int] = (90, 7)
) -> list[Tensor]:
    """This rank's logits of every network, in small chunks."""
    whole_graph.CHUNK_EDGES, whole_graph.CHUNK_ROWS = chunks
    graph = planted_graph(num_nodes=301)  # no world size divides it
    group = dist.group.WORLD if world_size > 1 else None
    ranks = Ranks(rank, world_size, process_group=group, machine=machine.format(rank=rank))
    evaluator = Evaluator(graph, ranks, spill=spill)
    return [evaluator.logits(build_model(settings_of(changes), graph)) for changes in NETWORKS]


def expected_logits() -> list[Tensor]:
    graph = planted_graph(num_nodes=301)
    return [whole_forward(build_model(settings_of(changes), graph), graph) for changes in NETWORKS]


@pytest.mark.parametrize("chunks", [(90, 7), (1 << 22, 1 << 16)])
def test_evaluation_is_a_forward_pass_over_the_whole_graph(
    chunks: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CHUNK_EDGES", "CHUNK_ROWS"):
        monkeypatch.setattr(whole_graph, name, getattr(whole_graph, name))  # so that they come back
    for logits, expected in zip(evaluated(0, 1, chunks=chunks), expected_logits(), strict=True):
        torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("world_size", "spilled"), [(2, False), (3, True)])
def test_ranks_evaluate_as_one_does(world_size: int, spilled: bool, tmp_path: Path) -> None:
    where = (str(tmp_path), "machine {rank}") if spilled else ("", "one")
    by_rank = spawn(world_size, evaluated, world_size, *where)
    for parts, expected in zip(zip(*by_rank, strict=True), expected_logits(), strict=True):
        torch.testing.assert_close(torch.cat(parts), expected, rtol=1e-3, atol=1e-4)
    assert not list(tmp_path.iterdir())


def batch_of(settings: Config, ranks: Ranks, epoch: int = 0, first_step: int = 0) -> Batch:
    batches: Any = make_batches(planted_graph(), settings, ranks)
    return next(batches.epoch(epoch, first_step))


@pytest.mark.parametrize("remedy", ["pairnorm", "dropnode", "dropedge"])
def test_a_rank_sees_the_whole_graph_where_it_has_to(remedy: str) -> None:
    """The logits of a rank's training nodes are those of one rank that has them all."""
    graph, settings = planted_graph(), settings_of({**REMEDIES[remedy], **FULL}, 1 if remedy != "pairnorm" else 2)
    model = build_model(settings, graph)
    alone = batch_of(settings, Ranks(), epoch=5)
    expected = model(alone.x, alone.blocks)[alone.rows]
    parts = []
    for rank in range(3):
        batch = batch_of(settings, Ranks(rank, 3), epoch=5)
        parts.append(model(batch.x, batch.blocks)[batch.rows])
        assert batch.nodes.numel() == graph.num_nodes
        assert torch.equal(graph.y[batch.nodes[batch.rows]], batch.y)
    torch.testing.assert_close(torch.cat(parts), expected)
    if remedy == "pairnorm":
        torch.testing.assert_close(expected, whole_forward(model, graph)[graph.train], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arch", ["gcn", "gin", "gat", "sage"])
@pytest.mark.parametrize("remedy", ["residual", "initial", "jumping", "nodenorm", "dropnode", "dropedge"])
def test_a_seed_nodes_output_does_not_depend_on_the_other_seeds(arch: str, remedy: str) -> None:
    graph, settings = planted_graph(), settings_of({**REMEDIES[remedy], "model.arch": arch}, 2)
    model = build_model(settings, graph)
    whole = batch_of(settings, Ranks(), 2, 1)
    parts = [batch_of(settings, Ranks(rank, 4), 2, 1) for rank in range(4)]
    joined = torch.cat([model(batch.x, batch.blocks)[batch.rows] for batch in parts])
    torch.testing.assert_close(joined, model(whole.x, whole.blocks)[whole.rows], rtol=1e-4, atol=1e-5)


def test_a_resumed_epoch_drops_the_same_edges_and_the_next_step_others() -> None:
    settings = settings_of(REMEDIES["dropedge"])
    batches: Any = make_batches(planted_graph(), settings, Ranks())
    first, second, *_ = batches.epoch(2)
    resumed = batch_of(settings, Ranks(), 2, 1)
    for block, expected in zip(resumed.blocks, second.blocks, strict=True):
        assert block.kept is not None
        assert torch.equal(block.kept, expected.kept)
    whole = settings_of({**REMEDIES["dropedge"], **FULL})
    one, other = (batch_of(whole, Ranks(), epoch).blocks[0].kept for epoch in (4, 5))
    assert one is not None
    assert other is not None
    assert 0.6 < float((one == other).float().mean()) < 0.76, "0.8 * 0.8 + 0.2 * 0.2"
    assert first.step + 1 == second.step == resumed.step


@pytest.mark.parametrize("changes", NETWORKS)
def test_bfloat16_computes_the_same_roughly(changes: Settings) -> None:
    graph, settings = planted_graph(), settings_of({**changes, "optim.precision": "bfloat16", "model.dropout": 0.3})
    model, batch = build_model(settings, graph), batch_of(settings, Ranks())
    dropout = Dropout(0.3, 1, 2, batch.nodes)
    expected = model(batch.x, batch.blocks, dropout)
    with autocast(settings, Ranks()):
        rounded = model(batch.x, batch.blocks, dropout).float()
    assert float((rounded - expected).detach().norm() / expected.detach().norm()) < 0.05
    rounded.sum().backward()


def test_nothing_is_dropped_from_what_is_calibrated_on() -> None:
    for changes in ({}, FULL):
        batches = make_batches(planted_graph(), settings_of({**REMEDIES["dropedge"], **changes}), Ranks())
        assert all(block.kept is None for block in batches.calibration_batch().blocks)


@pytest.mark.parametrize(
    ("remedy", "changes"),
    [("dropedge", {}), ("dropedge", FULL), ("dropnode", FULL), ("pairnorm", FULL), ("jumping", {}), ("identity", FULL)],
)
def test_masks_agree_for_every_world_size(remedy: str, changes: Settings, tmp_path: Path) -> None:
    """For some epochs: another order of sums takes a score across the threshold in the end, and the runs differ."""
    settings = settings_of({**REMEDIES[remedy], **changes, "run.epochs": 5})
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    fit(settings, planted_graph(), Ranks(), tmp_path / "1")
    spawn(2, fit_rank, 2, settings, str(tmp_path / "2"))
    losses, masks = zip(*(losses_and_masks(tmp_path / name) for name in ("1", "2")), strict=True)
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert equal_share(*masks) >= 0.999


def losses_and_masks(folder: Path) -> tuple[list[float], dict[str, Tensor]]:
    """Of each epoch, and after the last one."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    scores = checkpoint.at(folder).tensors["trained"]
    return [line["loss"] for line in lines], {name: score >= lines[-1]["threshold"] for name, score in scores.items()}


@pytest.mark.parametrize("method", ["dense", "ugts"])
@pytest.mark.parametrize("remedy", REMEDIES)
def test_a_run_from_the_command_line(remedy: str, method: str, tmp_path: Path) -> None:
    """Train, and find the same accuracy and logits in the saved network."""
    options = [f"--{key.replace('_', '-')}={value}" for key, value in REMEDIES[remedy].items()]
    small = ["--model.depth=4", "--model.width=48", "--supermask.sparsity=0.5", "--run.epochs=4", "--batch.size=400"]
    quiet = ["--log.no-progress", "--log.to", "--checkpoint.keep-last=0"]
    folder = tmp_path / "run"
    wide = ["--batch.fan-out", "5", "5", "5", "5", f"--supermask.method={method}", f"--run.folder={folder}"]
    main(["train", "--preset", "digits", *options, *small, *quiet, *wide])
    result = json.loads((folder / "result.json").read_text())
    saved = load_saved(folder)
    network = saved.network()
    assert isinstance(network, GNN)
    graph = load_graph(saved.config)
    assert (saved.num_features, saved.num_outputs) == (graph.num_features, graph.num_classes)
    evaluator = Evaluator(graph, Ranks())
    assert evaluator.measure(network, torch.zeros(()))[0] == {"valid": result["valid"], "test": result["test"]}
    fill = load_saved(Path(result["path"])).fill
    again = fill(build_model(saved.config, graph))
    assert isinstance(again, GNN)
    torch.testing.assert_close(whole_forward(network, graph), evaluator.logits(again), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("remedy", ["residual", "identity", "jumping", "pairnorm"])
def test_a_ticket_gives_the_logits_that_it_was_saved_with(remedy: str, tmp_path: Path) -> None:
    graph, settings = planted_graph(), settings_of(REMEDIES[remedy])
    model = build_model(settings, graph)
    mask = sparsify(model, 5, rescale=True)
    for number, name in enumerate(mask.weights()):
        mask.scale(name, 0.5 + 0.25 * number)
    mask.step(0.6)
    Ticket.of(mask, settings.portable(), {"valid": 0.5}).save(tmp_path / "a.ticket")
    loaded = load_saved(tmp_path / "a.ticket").network()
    assert isinstance(loaded, GNN)
    torch.testing.assert_close(whole_forward(loaded, graph), whole_forward(model, graph))


def ticket_file(folder: Path, weights_of: Settings, told: Settings) -> Path:
    """A ticket whose configuration may tell of another network than its own."""
    mask = sparsify(build_model(settings_of(weights_of), planted_graph()))
    Ticket.of(mask, settings_of(told).portable(), {"valid": 0.5}).save(folder / "a.ticket")
    return folder / "a.ticket"


@pytest.mark.parametrize(
    ("weights", "told", "message"),
    [
        ({}, {"model.skip": "residual"}, "'connections.input.weight' is in one of them only"),
        ({"model.skip": "residual"}, {}, "'connections.input.weight' is in one of them only"),
        ({"model.skip": "residual"}, {"model.skip": "jumping"}, "connections.output.weight is of shape (4, 32)"),
        ({"model.skip": "jumping"}, {"model.skip": "initial"}, "connections.output.weight is of shape (4, 128)"),
    ],
)
def test_another_network_than_the_configurations_is_refused(
    weights: Settings, told: Settings, message: str, tmp_path: Path
) -> None:
    path = ticket_file(tmp_path, weights, told)
    with pytest.raises(InputError) as caught:
        load_saved(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("remedy", ["residual", "initial", "jumping", "nodenorm", "pairnorm"])
def test_networks_that_pyg_does_not_have_are_exported_as_matrices_alone(remedy: str, tmp_path: Path) -> None:
    path = ticket_file(tmp_path, REMEDIES[remedy], REMEDIES[remedy])
    with pytest.raises(InputError, match=r"^[^\n]*PyG has no class with our[^\n]*allowed for this ticket is") as caught:
        export(path, "state-dict", tmp_path / "out")
    assert remedy in str(caught.value)
    assert export(path, "csr", tmp_path / "out").size > 0


@pytest.mark.parametrize("remedy", ["initial", "pairnorm", "dropedge"])
def test_graph_level_runs_have_none(remedy: str) -> None:
    settings = Config().replace({**REMEDIES[remedy], "data.name": "ogbg-molbace"})
    ids, none = torch.arange(4), torch.zeros(2, 0, dtype=torch.int64)
    y = torch.tensor([[0.0], [1.0], [0.0], [1.0]])
    graphs = GraphSet(
        "ogbg-molbace", torch.zeros(4, 9).long(), none, torch.arange(5), torch.zeros(5).long(), y, ids, ids, ids
    )
    with pytest.raises(InputError, match=rf"^model\.\w+ is {remedy}, allowed is none for graph labels$"):
        GraphTask(graphs).check(settings, Ranks())
