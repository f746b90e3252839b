"""The loop, on one process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from tests.training.helpers import config, planted_graph
from ugts_dist.checkpointing import checkpoint
from ugts_dist.checkpointing.saved_network import load_saved
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.evaluation.whole_graph import full_features, graph_block
from ugts_dist.methods import METHODS
from ugts_dist.supermask import Ticket
from ugts_dist.tasks import build_model, make_task
from ugts_dist.training.fit import fit
from ugts_dist.training.methods import TicketSearch
from ugts_dist.training.trainer import make_trainer


def test_a_ticket_predicts_as_it_did_in_the_run(tmp_path: Path) -> None:
    graph = planted_graph()
    result = fit(config(run__epochs=30), graph, Ranks(), tmp_path)
    assert result.test > 0.8
    saved = load_saved(tmp_path / "best.ticket")
    model = saved.fill(build_model(saved.config, graph)).eval()
    block = graph_block(graph, torch.device("cpu"))
    predicted = model(full_features(graph, torch.device("cpu")), [block, block]).argmax(1)
    assert float((predicted == graph.y)[graph.test].double().mean()) == result.test == saved.metrics["test"]
    assert float((predicted == graph.y)[graph.valid].double().mean()) == result.valid == saved.metrics["valid"]


@pytest.mark.parametrize(
    ("full", "method"),
    [
        *(pytest.param(True, method, id=f"full-batch-{method}") for method in METHODS),
        *(
            pytest.param(False, method, id=f"mini-batch-{method}", marks=[] if method == "ugts" else pytest.mark.slow)
            for method in METHODS
        ),
    ],
)
def test_every_method_learns(method: str, full: bool, tmp_path: Path) -> None:
    changes = {"batch__size": 0, "batch__fan_out": [], "run__epochs": 120} if full else {"run__epochs": 40}
    settings = config(supermask__method=method, supermask__sparsity=0.8, **changes)
    result = fit(settings, planted_graph(), Ranks(), tmp_path)
    assert result.test > 0.7  # four classes
    graph = planted_graph()
    total = (graph.num_features + graph.num_classes) * 32
    if method == "dense":
        assert result.sparsity == 0.0
    elif settings.supermask.effective_scope == "global":
        assert round(result.sparsity * total) == round(0.8 * total)
    else:
        layers = [graph.num_features * 32, graph.num_classes * 32]
        assert round(result.sparsity * total) == sum(round(0.8 * size) for size in layers)


def test_frozen_weights_never_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[TicketSearch] = []
    start = TicketSearch.start

    def remember(self: TicketSearch, forward: object) -> None:
        start(self, forward)  # type: ignore[arg-type]
        seen.append(self)
        prints.append(self.mask.fingerprint())

    prints: list[str] = []
    monkeypatch.setattr(TicketSearch, "start", remember)
    fit(config(), planted_graph(), Ranks(), tmp_path)
    assert [seen[0].mask.fingerprint()] == prints
    assert Ticket.load(tmp_path / "best.ticket").fingerprint == prints[0][:16]


def test_the_same_configuration_gives_the_same_bits(tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        fit(config(model__dropout=0.3), planted_graph(), Ranks(), tmp_path / name)
        files.append((tmp_path / name / "best.ticket").read_bytes())
    assert files[0] == files[1]


def test_metrics_follow_the_schedule_and_the_best_epoch_is_after_the_ramp(tmp_path: Path) -> None:
    result = fit(config(run__epochs=20, optim__schedule="cosine"), planted_graph(), Ranks(), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(20))
    assert [line["sparsity"] for line in lines] == pytest.approx([min(0.09 * e, 0.9) for e in range(20)])
    after = [line for line in lines if line["epoch"] >= 10]
    best = max(after, key=lambda line: line["valid"])
    assert (result.epoch, result.valid, result.test) == (best["epoch"], best["valid"], best["test"])
    assert result.test_any == max(lines, key=lambda line: line["valid"])["test"]
    assert result.test_last == lines[-1]["test"]
    last, _ = checkpoint.newest(tmp_path)
    assert last is not None
    values = torch.cat([score.flatten() for score in last.tensors["trained"].values()])
    assert lines[-1]["threshold"] == float(values.kthvalue(round(0.9 * values.numel()) + 1).values)
    cosine = [0.01 * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * e / 20)).item()) for e in range(20)]
    assert [line["lr"] for line in lines] == pytest.approx(cosine, rel=1e-5)


def test_evaluating_seldom_changes_nothing_but_the_number_of_lines(tmp_path: Path) -> None:
    every, seldom = tmp_path / "1", tmp_path / "7"
    for folder, interval in ((every, 1), (seldom, 7)):
        folder.mkdir()
        fit(config(run__evaluate_every=interval), planted_graph(), Ranks(), folder)
    lines = {
        folder: {row["epoch"]: row for row in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())}
        for folder in (every, seldom)
    }
    assert sorted(lines[seldom]) == [6, 11]
    for epoch, row in lines[seldom].items():
        assert row == lines[every][epoch]


def test_the_first_step_is_the_one_written_out_by_hand(tmp_path: Path) -> None:
    """One full-batch step at a constant sparsity: scores move as Adam moves them along theta * dL/d(theta mask)."""
    graph = planted_graph()
    settings = config(
        batch__size=0, batch__fan_out=[], run__epochs=1, supermask__method="no-gradual", supermask__calibrate=False
    ).replace({"supermask.rescale": False, "supermask.sparsity": 0.5})
    fit(settings, graph, Ranks(), tmp_path)
    ticket = Ticket.load(tmp_path / "best.ticket")

    search = TicketSearch(build_model(settings, graph), settings, Ranks())
    weights, scores = search.mask.weights(), dict(zip(search.mask.weights(), search.mask.scores(), strict=True))
    adjacency = torch.eye(graph.num_nodes)
    for node in range(graph.num_nodes):
        adjacency[node, graph.indices[graph.indptr[node] : graph.indptr[node + 1]].long()] = 1
    degree = adjacency.sum(1)
    adjacency = adjacency / (degree[:, None] * degree[None, :]).sqrt()
    threshold = torch.cat([score.detach().flatten() for score in scores.values()]).sort().values
    threshold = threshold[round(0.5 * threshold.numel())]
    masked = {n: (w * (scores[n] >= threshold)).detach().requires_grad_() for n, w in weights.items()}
    first, second = masked.values()
    logits = adjacency @ F.relu(adjacency @ graph.x @ first.t()) @ second.t()
    F.cross_entropy(logits[graph.train], graph.y[graph.train]).backward()
    after = {}
    for name, weight in masked.items():
        assert weight.grad is not None
        gradient = weights[name] * weight.grad
        after[name] = scores[name].detach() - 0.01 * gradient / (gradient.abs() + 1e-8)  # Adam's first step
    threshold = torch.cat([score.flatten() for score in after.values()]).sort().values
    threshold = threshold[round(0.5 * threshold.numel())]
    differing = sum(int((ticket.masks[name] != (after[name] >= threshold)).sum()) for name in after)
    assert differing <= 2  # a score next to the threshold may round to the other side


@pytest.mark.parametrize("sparsity", [0.1, 0.85])
def test_the_input_can_have_a_threshold_of_its_own(tmp_path: Path, sparsity: float) -> None:
    """It is masked before all others: wholly so where the target leaves no more than that."""
    settings = config().replace({"supermask.sparsity": sparsity, "supermask.input_sparsity": 0.9})
    fit(settings, planted_graph(), Ranks(), tmp_path)
    masks = Ticket.load(tmp_path / "best.ticket").masks
    masked = {name: int((~mask).sum()) for name, mask in masks.items()}
    size = sum(mask.numel() for mask in masks.values())
    first, *_ = masked
    assert sum(masked.values()) == round(sparsity * size)
    assert masked[first] == min(round(0.9 * masks[first].numel()), round(sparsity * size))
    assert any(masked[name] for name in masked if name != first) == (sparsity == 0.85)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    settings = config(supermask__method="dense", optim__lr=1e30, run__epochs=5)
    with pytest.raises(FloatingPointError, match="not finite in epoch"):
        fit(settings, planted_graph(), Ranks(), tmp_path)


@pytest.mark.gpu
@pytest.mark.parametrize("arch", ["gcn", "gat", "gin", "sage"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"supermask__scope": "layer"},
        {"supermask__coats": 3, "supermask__pruned": 0.5, "supermask__locked": 0.05},
        {"supermask__signed": True, "supermask__ranking": "magnitude"},
        {"supermask__min_layer_density": 0.3, "supermask__input_sparsity": 0.9, "model__skip": "initial"},
        {"supermask__method": "edge-popup", "model__graph_dropout": "dropedge", "model__graph_dropout_rate": 0.2},
        {"supermask__method": "dense", "model__norm": "nodenorm"},
        {"batch__size": 0, "batch__fan_out": []},
    ],
    ids=lambda changes: "-".join(name.split("__")[1] for name in changes) or "plain",
)
def test_a_step_never_waits_for_the_gpu(arch: str, changes: dict[str, object]) -> None:
    settings = config(model__arch=arch, batch__micro_batches=1, **changes)
    training = make_trainer(settings, make_task(planted_graph(), settings), Ranks(device=torch.device("cuda")))
    batches = [next(training.batches.epoch(epoch)) for epoch in range(5)]
    losses = [training.step(batch, 0.3) for batch in batches[:3]]
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        losses += [training.step(batch, 0.3) for batch in batches[3:]]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.stack(losses).isfinite().all()
