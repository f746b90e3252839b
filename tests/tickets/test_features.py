"""Another graph is standardised with the statistics of the training graph, which the network's file has."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pyarrow import parquet
from sklearn.preprocessing import normalize
from torch import Tensor

from tests.training.helpers import config, planted_graph
from ugts_dist.checkpointing.saved_network import Named, load_saved
from ugts_dist.cli import main
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.graphs.checksum import DataChecksum
from ugts_dist.graphs.configured import load_graph
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.store_writer import write_store
from ugts_dist.supermask import Ticket
from ugts_dist.tensor_file import read_tensor_file, write_tensor_file
from ugts_dist.tickets.compare import compare
from ugts_dist.tickets.options import PredictOptions
from ugts_dist.tickets.predict import predict
from ugts_dist.tickets.summary import summarise
from ugts_dist.training.run import evaluate, run

FILES = {"ugts": "best.ticket", "dense": "best.safetensors"}
UNITS = 10.0 ** torch.linspace(-2, 3, 16)


def trained(folder: Path, method: str = "ugts", features: str = "standardize") -> Path:
    """The file of a network of the store `own`."""
    settings = config(
        data__name=str(folder / "own"),
        data__features=features,
        supermask__method=method,
        run__epochs=3,
        batch__size=0,
        batch__fan_out=[],
        run__folder=str(folder / "runs" / method / features),
    )
    run(settings, Ranks())
    return (folder / "runs" / method / features / FILES[method]).rename(
        folder / f"{method}-{features}{Path(FILES[method]).suffix}"
    )


def stored(graph: Graph, x: Tensor, folder: Path) -> Path:
    write_store(replace(graph, name=folder.name, x=x.float(), digests={}), folder)
    return folder


@pytest.fixture
def graphs(tmp_path: Path) -> tuple[Graph, Graph]:
    """The graph of the training, and one whose features have other means and deviations; both are stored."""
    own, other = planted_graph(), planted_graph(seed=1)
    own, other = replace(own, x=(own.x + 5.0) * UNITS), replace(other, x=(2.0 * other.x + 9.0) * UNITS)
    stored(own, own.x, tmp_path / "own")
    stored(other, other.x, tmp_path / "other")
    return own, other


def predicted(file: Path, graph: Path) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    out = file.parent / f"{file.name}-{graph.name}.parquet"
    predict(PredictOptions(str(file), str(out), graph=str(graph)), Ranks())
    table = parquet.read_table(out)
    return np.stack([table[name].to_numpy() for name in table.column_names[2:]], 1)


def of_scaled_features(file: Path) -> Path:
    """The same network for features that are scaled already."""
    again = file.with_name(f"scaled{file.suffix}")
    if file.suffix == ".ticket":
        ticket = Ticket.load(file)
        ticket.config["data"]["standardize"] = False
        ticket.save(again)
    else:
        header, tensors = read_tensor_file(file, "dense", "")
        header["config"]["data"]["standardize"] = False
        write_tensor_file(again, tensors, header, "dense")
    return again


@pytest.mark.parametrize("method", FILES)
def test_another_graph_is_scaled_as_the_training_graph(
    method: str, graphs: tuple[Graph, Graph], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own, other = graphs
    file = trained(tmp_path, method)
    wide = own.x.double().numpy()
    by_hand = torch.from_numpy((other.x.double().numpy() - wide.mean(0)) / wide.std(0))
    expected = predicted(of_scaled_features(file), stored(other, by_hand, tmp_path / "by_hand"))
    caplog.clear()
    found = predicted(file, tmp_path / "other")
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    assert "features" in caplog.text
    assert "differ; means and deviations of its columns are those of the training" in caplog.text
    by_its_own = torch.from_numpy((other.x.double().numpy() - other.x.mean(0).numpy()) / other.x.std(0).numpy())
    wrong = predicted(of_scaled_features(file), stored(other, by_its_own, tmp_path / "by_its_own"))
    assert abs(found - wrong).max() > 0.01, "the two statistics make a difference"
    measured = evaluate(file, Ranks(), Named(str(tmp_path / "other"))).measured
    assert measured["test"] == pytest.approx(float((found.argmax(1) == other.y.numpy())[other.test.numpy()].mean()))


def test_the_training_graph_gives_the_same_bits_under_any_name(graphs: tuple[Graph, Graph], tmp_path: Path) -> None:
    file = trained(tmp_path)
    own, _ = graphs
    copy = stored(own, own.x, tmp_path / "copy")
    assert (predicted(file, tmp_path / "own") == predicted(file, copy)).all()
    again = evaluate(file, Ranks(), Named(str(copy)))
    assert again.measured["test"] == again.saved["test"]


def test_a_file_of_an_older_version_uses_the_other_graphs_own_statistics(
    graphs: tuple[Graph, Graph], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, other = graphs
    ticket = Ticket.load(trained(tmp_path))
    del ticket.provenance["columns"]
    ticket.save(tmp_path / "old.ticket")
    wide = other.x.double().numpy()
    by_hand = stored(other, torch.from_numpy((wide - wide.mean(0)) / wide.std(0)), tmp_path / "by_hand")
    expected = predicted(of_scaled_features(tmp_path / "old.ticket"), by_hand)
    caplog.clear()
    found = predicted(tmp_path / "old.ticket", tmp_path / "other")
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    assert "its columns are its own, as an older version did not store those of the training" in caplog.text


def test_only_standardised_networks_hold_statistics_of_few_bytes(graphs: tuple[Graph, Graph], tmp_path: Path) -> None:
    plain, scaled = trained(tmp_path, features="none"), trained(tmp_path)
    assert load_saved(plain).statistics is None
    assert "columns" not in Ticket.load(plain).provenance
    ticket = Ticket.load(scaled)
    size = scaled.stat().st_size
    del ticket.provenance["columns"]
    without = ticket.save(tmp_path / "without.ticket")
    assert 0 < size - without < 8 * 16 + 100
    statistics = load_saved(scaled).statistics
    assert statistics is not None
    own, _ = graphs
    np.testing.assert_allclose(statistics.mean, own.x.double().mean(0), rtol=1e-6)
    np.testing.assert_allclose(statistics.deviation, own.x.double().std(0, correction=0), rtol=1e-6)


def test_statistics_are_shown_as_a_checksum(graphs: tuple[Graph, Graph], tmp_path: Path) -> None:
    file = trained(tmp_path)
    shown = summarise(Ticket.load(file), file).provenance["columns"]
    assert shown.startswith("mean and deviation of each, SHA-256 ")
    ticket = Ticket.load(file)
    ticket.provenance["columns"]["mean"] = ticket.provenance["columns"]["deviation"]
    names = [each.name for each in compare(Ticket.load(file), ticket, (file, file)).differences]
    assert names == ["provenance columns"]


def test_a_graph_of_other_width_is_refused(
    graphs: tuple[Graph, Graph], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own, _ = graphs
    narrow = stored(own, own.x[:, :9], tmp_path / "narrow")
    file = str(trained(tmp_path))
    for args in (["predict", file, "--out", str(tmp_path / "x.csv")], ["evaluate", file]):
        with pytest.raises(SystemExit):
            main([*args, "--graph", str(narrow)])
        error = capsys.readouterr().err.splitlines()[-1]
        assert error == "ugts: --graph is narrow, whose nodes have 9 features; allowed are 16, as the network reads"


@pytest.mark.parametrize(
    "damaged", ["mine", {"mean": "AAAA"}, {"mean": "AAAAAA==", "deviation": "%"}, {"mean": 1, "deviation": ""}]
)
def test_damaged_statistics_are_refused(damaged: object, graphs: tuple[Graph, Graph], tmp_path: Path) -> None:
    ticket = Ticket.load(trained(tmp_path))
    ticket.provenance["columns"] = damaged
    ticket.save(tmp_path / "damaged.ticket")
    with pytest.raises(InputError, match=r"damaged\.ticket: damaged statistics of the columns"):
        load_saved(tmp_path / "damaged.ticket")


@pytest.mark.parametrize("lowest", [0.0, 0.5])
def test_rows_of_a_prepared_graph_are_normalised_if_asked(lowest: float, tmp_path: Path) -> None:
    """The same in every graph, as of scikit-learn: the lowest feature of a graph makes no difference."""
    graph = planted_graph()
    graph = replace(graph, x=(graph.x - graph.x.min() + lowest) * UNITS)
    folder = stored(graph, graph.x, tmp_path / "own")
    for features in ("auto", "none"):
        assert torch.equal(load_graph(of(folder, features)).x, graph.x)
    loaded = load_graph(of(folder, "row-normalize"))
    torch.testing.assert_close(loaded.x, torch.from_numpy(normalize(graph.x.numpy(), "l1")))
    assert DataChecksum.of(loaded) == DataChecksum.of(load_graph(of(folder, "auto")))


def test_rows_with_negative_features_are_not_normalised(graphs: tuple[Graph, Graph], tmp_path: Path) -> None:
    graph, _ = graphs
    folder = stored(graph, graph.x - graph.x.min() - 1.5, tmp_path / "negative")
    told = (
        "data.features is row-normalize, and negative has the feature -1.5; allowed are features from 0 on, or "
        "data.features auto, standardize, standardize-raw or none"
    )
    with pytest.raises(InputError, match=f"^{re.escape(told)}$"):
        load_graph(of(folder, "row-normalize"))


def of(folder: Path, features: str) -> Config:
    return Config().replace({"data.name": str(folder), "data.features": features})
