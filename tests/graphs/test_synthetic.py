from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from ugts_dist.errors import InputError
from ugts_dist.graphs.block_model import Between, BlockModel, Stratum, Within
from ugts_dist.graphs.external_sort import EdgeSorter
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.store import open_store, verify_store
from ugts_dist.graphs.synthetic import generate
from ugts_dist.graphs.synthetic_config import PRESETS, SyntheticConfig

ARRAYS = ("indptr", "indices", "x", "y", "train", "valid", "test")
SMALL = PRESETS["arxiv-like"].scaled(0.03)
TINY = replace(PRESETS["products-like"].scaled(0.0004), num_edges=20_000, num_classes=5, num_features=7)


def made(config: SyntheticConfig, folder: Path, **options: Any) -> Graph:
    generate(config, folder, **options)
    return open_store(folder)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return made(SMALL, tmp_path_factory.mktemp("stores") / "small")


@pytest.fixture(scope="module")
def popular(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return made(PRESETS["products-like"].scaled(0.004), tmp_path_factory.mktemp("stores") / "popular")


def adjacency(graph: Graph) -> sp.csr_matrix:
    ones = np.ones(graph.num_edges, dtype=np.float32)
    return sp.csr_matrix((ones, graph.indices.numpy(), graph.indptr.numpy()), shape=(graph.num_nodes,) * 2)


def test_presets_have_the_published_sizes() -> None:
    arxiv, products = PRESETS["arxiv-like"], PRESETS["products-like"]
    assert (arxiv.num_nodes, arxiv.num_features, arxiv.num_classes) == (169_343, 128, 40)
    assert arxiv.num_train + arxiv.num_valid + 48_603 == arxiv.num_nodes
    assert (products.num_nodes, products.num_features, products.num_classes) == (2_449_029, 100, 47)
    assert products.num_train + products.num_valid + 2_213_091 == products.num_nodes
    papers = PRESETS["papers100M-like"]
    assert (papers.num_nodes, papers.num_edges, papers.num_features) == (111_059_956, 1_615_685_872, 128)
    assert (papers.num_classes, papers.num_train, papers.num_valid) == (172, 1_207_179, 125_265)


def test_neighbours_are_symmetric_sorted_and_each_once(small: Graph) -> None:
    matrix = adjacency(small)
    assert matrix.has_sorted_indices
    assert matrix.diagonal().sum() == 0
    assert (matrix != matrix.T).nnz == 0
    matrix.sum_duplicates()
    assert matrix.nnz == small.num_edges


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_sizes(preset: str, small: Graph, popular: Graph, tmp_path: Path) -> None:
    papers = PRESETS["papers100M-like"].scaled(0.0001)
    graph, config = {
        "arxiv-like": (small, SMALL),
        "products-like": (popular, PRESETS["products-like"].scaled(0.004)),
        "papers100M-like": (made(papers, tmp_path / "papers"), papers),
    }[preset]
    assert (graph.name, graph.num_nodes, graph.num_features) == (config.name, config.num_nodes, config.num_features)
    assert (graph.train.numel(), graph.valid.numel()) == (config.num_train, config.num_valid)
    everyone = torch.cat([graph.train, graph.valid, graph.test]).sort().values
    assert torch.equal(everyone, torch.arange(config.num_nodes))
    assert graph.num_edges == pytest.approx(config.num_edges, rel=0.01)
    assert graph.num_classes == config.num_classes


def test_classes_are_unlike_in_size_and_not_in_the_order_of_ids(small: Graph) -> None:
    sizes = small.y.bincount(minlength=SMALL.num_classes).double()
    wanted = torch.arange(1, SMALL.num_classes + 1, dtype=torch.float64) ** -SMALL.class_power
    # The tolerance is that of the drawn labels, 12 % of all, and of the smallest class.
    assert torch.allclose(sizes / sizes.sum(), wanted / wanted.sum(), atol=0.01)
    assert float((small.y[1:] == small.y[:-1]).double().mean()) < 2 * float(((sizes / sizes.sum()) ** 2).sum())


@pytest.mark.parametrize("homophily", [0.3, 0.65])
def test_homophily_is_the_configured_one(homophily: float, tmp_path: Path) -> None:
    graph = made(replace(SMALL, homophily=homophily), tmp_path / "graph")
    destination = torch.arange(graph.num_nodes).repeat_interleave(graph.degree)
    measured = (graph.y[graph.indices.long()] == graph.y[destination]).double().mean()
    assert float(measured) == pytest.approx(homophily, abs=0.02)


def test_degrees_have_a_heavy_tail(small: Graph) -> None:
    degree = small.degree.double()
    assert float(degree.max()) > 30 * float(degree.mean())
    assert float(degree.median()) < 0.7 * float(degree.mean())
    # A random graph with as many edges has hardly a node of thrice the mean degree.
    assert float((degree > 3 * degree.mean()).double().mean()) > 0.01


def test_training_nodes_are_popular_only_where_told(small: Graph, popular: Graph) -> None:
    for graph, low, high in ((small, 0.8, 1.25), (popular, 1.5, 4.0)):
        ratio = graph.degree[graph.train].double().mean() / graph.degree[graph.test].double().mean()
        assert low < float(ratio) < high


def test_neighbours_tell_more_about_the_label_than_features(small: Graph) -> None:
    x, y = small.x.numpy(), small.y.numpy()
    degree = np.maximum(small.degree.numpy(), 1)
    mean = (adjacency(small) @ x) / degree[:, None]
    accuracy = []
    for features in (x, mean):
        classifier = LogisticRegression(max_iter=30, C=0.1, tol=1e-2)
        classifier.fit(features[small.train], y[small.train])
        accuracy.append(classifier.score(features[small.test], y[small.test]))
    chance = np.bincount(y).max() / y.size
    assert chance + 0.1 < accuracy[0] < accuracy[1] - 0.1
    assert accuracy[1] < 0.9


def test_the_same_configuration_makes_the_same_graph_in_any_memory(tmp_path: Path) -> None:
    graphs = [made(TINY, tmp_path / str(memory), memory=memory) for memory in (1 << 28, 1 << 19, 100_003)]
    for graph in graphs[1:]:
        assert all(torch.equal(getattr(graphs[0], array), getattr(graph, array)) for array in ARRAYS)


def test_another_seed_makes_another_graph(tmp_path: Path) -> None:
    first, second = (made(replace(TINY, seed=seed), tmp_path / str(seed)) for seed in (0, 1))
    assert not any(torch.equal(getattr(first, array), getattr(second, array)) for array in ARRAYS)


def test_the_store_is_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    generate(TINY, tmp_path / "graph", lambda stage, done: told.append((stage, done)), memory=1 << 19)
    verify_store(tmp_path / "graph")
    assert [path.name for path in tmp_path.iterdir()] == ["graph"]
    assert not list((tmp_path / "graph").glob("*.bucket"))
    for stage in ("edges", "neighbours", "features", "checks"):
        fractions = [done for name, done in told if name == stage]
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1.0


def test_an_interrupted_generation_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(stage: str, done: float) -> None:
        if stage == "features":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(TINY, tmp_path / "graph", interrupt)
    assert not list(tmp_path.iterdir())


def test_leftovers_of_a_killed_generation_do_no_harm(tmp_path: Path) -> None:
    clean = made(TINY, tmp_path / "clean")
    leftover = tmp_path / ".graph.partial" / "edges-0.bucket"
    leftover.parent.mkdir()
    leftover.write_bytes(np.arange(100, dtype=np.int64).tobytes())
    graph = made(TINY, tmp_path / "graph")
    assert all(torch.equal(getattr(clean, array), getattr(graph, array)) for array in ARRAYS)


def test_a_full_disk_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(EdgeSorter, "add", full)
    with pytest.raises(InputError, match=r"graph: cannot be written .No space left on device") as caught:
        generate(TINY, tmp_path / "graph")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_nodes", 2),
        ("num_edges", 980 * 979 + 2),
        ("num_edges", 0),
        ("num_features", 0),
        ("num_classes", 0),
        ("num_classes", 1),
        ("num_classes", 981),
        ("num_train", 0),
        ("num_valid", 980 - TINY.num_train),
        ("homophily", 1.1),
        ("homophily", float("nan")),
        ("class_power", -1.0),
        ("min_degree", 1000.0),
        ("degree_power", 1.0),
        ("feature_signal", -1.0),
        ("label_noise", 0.6),
        ("train_popularity", float("inf")),
    ],
)
def test_impossible_fields_are_refused(field: str, value: Any) -> None:
    assert TINY.num_nodes == 980
    with pytest.raises(InputError, match=rf"{field} is .*; allowed: ") as caught:
        replace(TINY, **{field: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"homophily": 0.99, "label_noise": 0.3}, "homophily is 0.99; allowed with label_noise 0.3: 0"),
        ({"num_edges": 900_000}, r"num_edges: \d+ within classes .*; allowed: about"),
        ({"num_edges": 300_000, "homophily": 0.9, "class_power": 0.0, "label_noise": 0.0}, "within classes"),
    ],
)
def test_impossible_graphs_are_refused_before_anything_is_written(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        generate(replace(TINY, **changes), tmp_path / "graph")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fraction", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_scales_are_refused(fraction: float) -> None:
    with pytest.raises(InputError, match=r"scale: .* allowed: above 0"):
        TINY.scaled(fraction)


def test_a_store_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "graph").mkdir()
    with pytest.raises(InputError, match="exists already"):
        generate(TINY, tmp_path / "graph")


CLASSES = np.array([0, 0, 0, 1, 1, 2, 2, 2])
WEIGHTS = np.array([5, 1, 2, 3, 4, 1, 1, 7])


def pair_probabilities(within: bool) -> NDArray[np.float64]:
    """By brute force: the first node by weight among all, the second by weight among the allowed ones."""
    probabilities = np.zeros((8, 8))
    for start in range(8):
        weights = WEIGHTS * ((CLASSES[start] == CLASSES) == within)
        probabilities[start] = WEIGHTS[start] / WEIGHTS.sum() * weights / weights.sum()
    return probabilities


def strata() -> Iterator[tuple[Stratum, bool]]:
    model = BlockModel(CLASSES, WEIGHTS)
    yield Within(model, 1), True
    yield Between(model, 2), False


def test_pairs_are_drawn_with_the_probabilities_of_the_model() -> None:
    for stratum, within in strata():
        count = 200_000
        start, end = stratum.draw(0, count)
        seen = np.bincount(start * 8 + end, minlength=64).reshape(8, 8)
        wanted = pair_probabilities(within)
        assert np.all(seen[wanted == 0.0] == 0)
        # Five standard deviations of a count.
        assert np.all(np.abs(seen - count * wanted) < 5 * np.sqrt(count * wanted) + 1e-9)


def test_pairs_do_not_depend_on_how_they_are_drawn() -> None:
    for stratum, _ in strata():
        whole = np.stack(stratum.draw(0, 1000))
        parts = [np.stack(stratum.draw(first, first + 125)) for first in range(0, 1000, 125)]
        assert np.array_equal(whole, np.concatenate(parts, axis=1))


def test_number_of_draws_meets_the_wanted_number_of_pairs() -> None:
    rng = np.random.default_rng(0)
    model = BlockModel(np.repeat(np.arange(4), 250), (1000 * rng.pareto(2.0, 1000) + 100).astype(np.int64))
    for stratum in (Within(model, 3), Between(model, 4)):
        start, end = stratum.draw(0, stratum.num_draws(20_000))
        pairs = {
            (min(pair), max(pair)) for pair in zip(start.tolist(), end.tolist(), strict=True) if len(set(pair)) == 2
        }
        assert len(pairs) == pytest.approx(20_000, rel=0.01)


@given(data=st.data(), num_nodes=st.integers(1, 30), memory=st.sampled_from([1, 500, 5_000, 10**6]))
def test_edge_sorter_is_a_sort(
    data: st.DataObject, num_nodes: int, memory: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    node = st.integers(0, num_nodes - 1)
    chunks = data.draw(st.lists(st.lists(st.tuples(node, node), max_size=30), max_size=4))
    folder = tmp_path_factory.mktemp("sorter")
    sorter = EdgeSorter(folder, num_nodes, sum(map(len, chunks)), memory)
    for chunk in chunks:
        source, destination = np.array(chunk, dtype=np.int64).reshape(-1, 2).T
        sorter.add(source, destination)
    edges, met = [], 0
    for first, degree, sources in sorter.neighbours():
        assert first == met
        met += len(degree)
        destinations = np.repeat(np.arange(first, met), degree)
        edges += list(zip(destinations.tolist(), sources.tolist(), strict=True))
    assert met == num_nodes
    assert edges == sorted({(end, start) for chunk in chunks for start, end in chunk if start != end})
    assert not list(folder.iterdir())
