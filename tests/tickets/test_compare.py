from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from sklearn.metrics import jaccard_score

from tests.tickets.helpers import config_of, saved, ticket_of
from ugts_dist.cli import main
from ugts_dist.config import Config
from ugts_dist.errors import InputError
from ugts_dist.supermask import Ticket, sparsify
from ugts_dist.tickets.compare import compare

NAMES = (Path("a"), Path("b"))


def with_masks(ticket: Ticket, seed: int, density: float) -> Ticket:
    """The same ticket with random masks."""
    generator = torch.Generator().manual_seed(seed)
    masks = {name: torch.rand(mask.shape, generator=generator) < density for name, mask in ticket.masks.items()}
    return dataclasses.replace(ticket, masks=masks)


def test_agreement_and_overlap_are_those_of_sklearn() -> None:
    base = ticket_of(config_of("gat"))
    first, second = with_masks(base, 1, 0.3), with_masks(base, 2, 0.6)
    comparison = compare(first, second, NAMES)
    assert comparison.differences == []
    everything = [torch.cat([mask.flatten() for mask in ticket.masks.values()]) for ticket in (first, second)]
    pairs = {name: [mask.flatten(), second.masks[name].flatten()] for name, mask in first.masks.items()}
    rows = [*comparison.layers, comparison.total]
    for overlap, (a, b) in zip(rows, [*pairs.values(), everything], strict=True):
        assert overlap.weights == a.numel()
        assert overlap.agreement == pytest.approx(float((a == b).double().mean()))
        assert overlap.jaccard == pytest.approx(jaccard_score(a, b))
    assert [overlap.name for overlap in rows] == [*pairs, "all"]


def test_the_overlap_by_chance_is_that_of_random_masks() -> None:
    ticket = Ticket.of(sparsify(torch.nn.Linear(1000, 400, bias=False)))
    comparison = compare(with_masks(ticket, 1, 0.3), with_masks(ticket, 2, 0.05), NAMES)
    assert comparison.total.jaccard == pytest.approx(comparison.total.jaccard_by_chance, rel=0.03)
    assert comparison.total.jaccard_by_chance == pytest.approx(0.015 / 0.335, rel=0.03)


def test_masks_that_keep_nothing() -> None:
    ticket = ticket_of(config_of("gcn"))
    empty = with_masks(ticket, 0, 0.0)
    total = compare(empty, empty, NAMES).total
    assert (total.agreement, total.jaccard, total.jaccard_by_chance) == (1.0, 1.0, 1.0)
    total = compare(empty, ticket, NAMES).total
    assert (total.jaccard, total.jaccard_by_chance) == (0.0, 0.0)


def test_a_ticket_does_not_differ_from_itself() -> None:
    ticket = ticket_of(config_of("gin"))
    comparison = compare(ticket, ticket, NAMES)
    assert comparison.differences == []
    assert all(overlap.jaccard == overlap.agreement == 1.0 for overlap in comparison.layers)


def test_everything_that_differs_is_listed() -> None:
    first = ticket_of(config_of("gin"))
    second = ticket_of(config_of("gin", optim__lr=0.5, supermask__sparsity=0.7), seed=5)
    second.metrics = {"test": 0.5, "valid": 0.25}
    second.provenance = {"data": {"name": "other"}}
    second.gains["convs.0.nn.0.weight"] = 7.0
    second.unmasked["convs.1.eps"] = torch.ones(1)
    listed = {
        difference.name: (difference.first, difference.second)
        for difference in compare(first, second, NAMES).differences
    }
    scales = {name for name in listed if name.startswith("scale ")}
    assert {name: value for name, value in listed.items() if name not in scales} == {
        "seed": (0, 5),
        "fingerprint": (first.fingerprint, second.fingerprint),
        "gain convs.0.nn.0.weight": (0.5, 7.0),
        "optim.lr": (0.01, 0.5),
        "supermask.sparsity": (0.9, 0.7),
        "metric test": (0.125, 0.5),
        "provenance data.name": (None, "other"),
        "unmasked convs.1.eps": ("shape (1,), mean 0", "shape (1,), mean 1"),
    }
    assert scales == {f"scale {name}" for name in first.scales if first.scales[name] != second.scales[name]}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (config_of("sage"), "b: convs.0.lin.weight is absent, in a of shape (12, 11); allowed are two tickets"),
        (config_of("gcn", model__width=13), "b: convs.0.lin.weight is of shape (13, 11), in a of shape (12, 11)"),
        (config_of("gcn", depth=3), "b: convs.1.lin.weight is of shape (12, 12), in a of shape (4, 12)"),
    ],
)
def test_other_shapes_are_refused(config: Config, message: str) -> None:
    with pytest.raises(InputError) as caught:
        compare(ticket_of(config_of("gcn")), ticket_of(config), NAMES)
    assert str(caught.value).startswith(message)


def test_json_and_tables_tell_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(saved(tmp_path, ticket_of(config_of("gcn"), seed), f"{seed}.ticket")) for seed in (3, 4)]
    main(["ticket", "diff", *paths, "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (told["first"], told["second"]) == tuple(paths)
    assert {"name": "seed", "first": 3, "second": 4} in told["differences"]
    main(["ticket", "diff", *paths])
    lines = capsys.readouterr().out.splitlines()
    for overlap in [*told["layers"], told["total"]]:
        numbers = [f"{overlap[key]:.4f}" for key in ("agreement", "jaccard", "jaccard_by_chance")]
        assert any(overlap["name"] in line and all(number in line for number in numbers) for line in lines)
    main(["ticket", "diff", paths[0], paths[0]])
    assert "Nothing else differs." in capsys.readouterr().out
