"""Which nodes are shown; the map keeps neighbours together."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from ugts_dist.analysis.embedding import outputs_to_show, tsne
from ugts_dist.analysis.kinds.tsne import Tsne
from ugts_dist.analysis.subject import open_subject
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError


def test_clusters_stay_apart() -> None:
    y = torch.arange(120) % 3
    x = 10.0 * torch.eye(3)[y] + torch.randn(120, 3)
    points = tsne(x, perplexity=50.0, seed=0)
    assert points.shape == (120, 2)
    nearest = KNeighborsClassifier(5).fit(points[:90], y[:90]).score(points[90:], y[90:])
    assert nearest == 1.0
    assert (tsne(x, 50.0, 0) == points).all()


@pytest.mark.parametrize("x", [torch.randn(4, 1), torch.randn(5, 3), torch.ones(10, 4)])
def test_few_nodes_and_equal_ones(x: torch.Tensor) -> None:
    assert tsne(x, perplexity=50.0).shape == (len(x), 2)


def test_the_nodes_that_are_asked_for(dense_run: Path) -> None:
    subject = open_subject(dense_run, Ranks())
    graph, logits = subject.graph, subject.evaluator().logits(subject.model)

    def shown(**changes: Any) -> Any:
        return outputs_to_show(subject, Tsne(str(dense_run), **changes))

    everything = shown()
    assert torch.equal(everything.nodes, graph.test)
    torch.testing.assert_close(everything.x, logits[graph.test])
    some = shown(of="valid", classes=3, points=20, layer=1)
    assert some.nodes.numel() == 20
    assert bool(torch.isin(some.nodes, graph.valid).all())
    assert some.y.unique().numel() == 3
    assert torch.equal(some.y, graph.y[some.nodes])
    assert some.x.shape == (20, 32)
    assert not torch.equal(shown(points=20, seed=1).nodes, shown(points=20).nodes)
    assert shown(of="train", classes=2).y.unique().numel() == 2


def test_too_few_nodes_are_refused(dense_run: Path) -> None:
    subject = open_subject(dense_run, Ranks())
    few = dataclasses.replace(subject, graph=dataclasses.replace(subject.graph, train=subject.graph.train[:3]))
    with pytest.raises(InputError, match="--of is train, with 3 nodes to show; allowed are 4 or more"):
        outputs_to_show(few, Tsne(str(dense_run), of="train"))
