"""Weights that are always masked or always kept, drawn from the seed."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.supermask.networks import NETWORKS, graph
from ugts_dist import Ticket, sparsify
from ugts_dist.supermask.form import Form
from ugts_dist.supermask.frozen import _lowest, frozen_counts, frozen_places, num_free
from ugts_dist.supermask.recipe import Scope

X, EDGES = graph()
NETWORK = "gat with batch norm"


@pytest.mark.parametrize(("pruned", "locked"), [(0.5, 0.0), (0.0, 0.2), (0.31, 0.17), (0.9, 0.09)])
def test_places_are_those_of_sorted_random_bits(pruned: float, locked: float) -> None:
    places = frozen_places(7, "convs.0.lin.weight", 1001, Form(pruned=pruned, locked=locked))
    key = hashlib.sha256(b"7/frozen/convs.0.lin.weight").digest()[:16]
    order = np.random.Philox(key=int.from_bytes(key, "little")).random_raw(1001).argsort(kind="stable")
    num_pruned, num_locked = round(pruned * 1001), round(locked * 1001)
    assert {*np.flatnonzero(places[0])} == {*order[:num_pruned]}
    assert {*np.flatnonzero(places[1])} == {*order[1001 - num_locked :]}


def test_seed_and_name_each_change_the_places() -> None:
    form = Form(pruned=0.5)
    places = [frozen_places(*key, 64, form)[0].tolist() for key in ((0, "a"), (0, "b"), (1, "a"), (0, "a"))]
    assert places[0] == places[3]
    assert places[1] != places[0] != places[2]


@given(bits=st.lists(st.integers(0, 4), min_size=1, max_size=40), data=st.data())
def test_of_equal_bits_the_first_are_the_lowest(bits: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(0, len(bits)))
    order = sorted(range(len(bits)), key=bits.__getitem__)
    assert {*np.flatnonzero(_lowest(np.array(bits, np.uint64), count))} == {*order[:count]}


@given(size=st.integers(1, 300), pruned=st.floats(0, 0.99), share=st.floats(0, 0.99))
def test_no_weight_is_both(size: int, pruned: float, share: float) -> None:
    form = Form(pruned=pruned, locked=share * (1 - pruned) * 0.99)
    places = frozen_places(0, "a", size, form)
    assert not (places[0] & places[1]).any()
    assert [int(one.sum()) for one in places] == [*frozen_counts(size, form)]
    assert num_free(size, form) == size - sum(frozen_counts(size, form)) >= 0


@given(
    sparsity=st.floats(0.0, 0.8),
    scope=st.sampled_from(["global", "layer"]),
    first=st.booleans(),
    floor=st.sampled_from([0.0, 0.5, 1.0]),
    pruned=st.floats(0.0, 0.7),
    locked=st.floats(0.0, 0.2),
    seed=st.integers(0, 1000),
)
def test_what_is_pruned_is_masked_and_what_is_locked_is_kept(
    sparsity: float, scope: Scope, first: bool, floor: float, pruned: float, locked: float, seed: int
) -> None:
    options: dict[str, Any] = {"scope": scope, "min_layer_density": floor, "pruned": pruned, "locked": locked}
    if first and scope == "global":
        options |= {"input_layers": ["convs.0.lin.weight"], "input_sparsity": 0.9}
    mask = sparsify(NETWORKS[NETWORK](), seed, **options)
    with torch.no_grad():  # one layer has much higher scores
        mask.scores()[-1].mul_(30.0)
    mask.step(sparsity)
    masks = {name: value.flatten() for name, value in mask.masks().items()}
    scores = {name: score.detach().flatten() for name, score in zip(mask.weights(), mask.scores(), strict=True)}
    places = {
        name: frozen_places(seed, name, value.numel(), Form(pruned=pruned, locked=locked))
        for name, value in masks.items()
    }
    ranks = {
        name: [
            (-1 if out else 1 if kept else 0, score)
            for out, kept, score in zip(*places[name], scores[name].tolist(), strict=True)
        ]
        for name in masks
    }
    for name, value in masks.items():
        assert not value[torch.from_numpy(places[name][0])].any()
        assert value[torch.from_numpy(places[name][1])].all()
    layers = [[name] for name in masks] if scope == "layer" else [[*masks]]
    for names in layers:
        size, out, kept = (sum(counts) for counts in zip(*_counts(names, places), strict=True))
        masked = min(max(round(sparsity * size), out), size - kept)
        assert sum(int((~masks[name]).sum()) for name in names) == masked
        if not floor and "input_layers" not in options:
            order = sorted((*rank, name, i) for name in names for i, rank in enumerate(ranks[name]))
            assert {(name, i) for _, _, name, i in order[masked:]} == {
                (name, i) for name in names for i in masks[name].nonzero().flatten().tolist()
            }


def _counts(names: list[str], places: dict[str, Any]) -> list[tuple[int, int, int]]:
    return [(places[name][0].size, int(places[name][0].sum()), int(places[name][1].sum())) for name in names]


@pytest.mark.parametrize("options", [{}, {"signed": True, "ranking": "magnitude"}, {"coats": 3}])
def test_scores_of_frozen_weights_have_no_say(options: dict[str, Any]) -> None:
    outputs = []
    for value in (-1e30, 0.0, 1e30):
        mask = sparsify(NETWORKS[NETWORK](), rescale=True, pruned=0.4, locked=0.1, **options)
        with torch.no_grad():
            for name, score in zip(mask.weights(), mask.scores(), strict=True):
                for one in frozen_places(0, name, score.numel(), Form(pruned=0.4, locked=0.1)):
                    score.view(-1)[torch.from_numpy(one)] = value
        mask.step(0.7)
        outputs.append(mask.model.eval()(X, EDGES))
        levels = mask.levels() if options else {name: kept.to(torch.int8) for name, kept in mask.masks().items()}
        for name, level in levels.items():
            pruned, locked = (
                torch.from_numpy(one) for one in frozen_places(0, name, level.numel(), Form(pruned=0.4, locked=0.1))
            )
            assert (level.flatten()[pruned] == 0).all()
            assert (level.flatten()[locked] == mask.options.coats).all()
        assert torch.equal(Ticket.of(mask).apply(NETWORKS[NETWORK]())(X, EDGES), outputs[-1])
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])


def test_before_the_first_step_what_is_pruned_is_masked() -> None:
    mask = sparsify(nn.Linear(10, 10), pruned=0.3, locked=0.2)
    assert mask.sparsity() == pytest.approx(0.3)
    mask.step(0.0)
    assert mask.sparsity() == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pruned": 1.0}, r"pruned is 1\.0, allowed is \[0, 1\)"),
        ({"pruned": -0.1}, r"pruned is -0\.1, allowed is \[0, 1\)"),
        ({"locked": "all"}, r"locked is 'all', allowed is \[0, 1\)"),
        ({"pruned": 0.5, "locked": 0.5}, r"locked is 0\.5, allowed is less than 1 - pruned, which is 0\.5"),
    ],
)
def test_other_parts_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"^{message}$"):
        sparsify(nn.Linear(3, 2), **options)


def test_a_sparsity_that_would_mask_what_is_locked_is_refused() -> None:
    mask = sparsify(nn.Linear(10, 10), locked=0.2)
    mask.step(0.8)
    assert mask.sparsity() == pytest.approx(0.8)
    with pytest.raises(ValueError, match=r"^sparsity is 0\.81, allowed is at most 1 - locked, 0\.8$"):
        mask.step(0.81)
