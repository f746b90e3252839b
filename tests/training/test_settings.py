"""Rules choose settings by what is seen of a graph; whatever is given stays."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st

from tests.processes import spawn
from tests.training.helpers import planted_graph
from ugts_dist.cli import main
from ugts_dist.config import Config, load_toml
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.graphs.store_writer import write_store
from ugts_dist.graphs.traits import Traits
from ugts_dist.training.run import fit_settings
from ugts_dist.training.settings import fitted

SEEN = Traits(2000, 10_000, 50, 4, 1200, density=1.0, varies=True, num_known_edges=4000, homophily=0.6)
TRAITS = st.builds(
    Traits,
    num_nodes=st.integers(1, 10**9),
    num_edges=st.integers(0, 10**10),
    num_features=st.integers(1, 10**5),
    num_classes=st.integers(1, 1000),
    num_labels=st.integers(1, 10**8),
    density=st.floats(0, 1),
    varies=st.booleans(),
    num_known_edges=st.integers(0, 10**7),
    homophily=st.floats(-1, 1),
    spread=st.floats(0, 1e9),
    has_classes=st.booleans(),
)


def chosen(traits: Traits, **changes: Any) -> dict[str, Any]:
    config = Config().replace({name.replace("__", "."): value for name, value in changes.items()})
    return {choice.field: choice.value for choice in fitted(config, traits, ())[1]}


@given(TRAITS, st.sampled_from(["gcn", "gin", "gat", "sage"]), st.integers(1, 12), st.sampled_from(["ugts", "dense"]))
def test_of_any_graph_the_choice_is_a_configuration(traits: Traits, arch: str, depth: int, method: str) -> None:
    asked = {"model.arch": arch, "model.depth": depth, "supermask.method": method}
    config = Config().replace(asked)
    fitting, choices = fitted(config, traits, asked)
    names = [choice.field for choice in choices]
    assert len(names) == len(set(names))
    assert all(choice.reason for choice in choices)
    assert fitting.changes(config).keys() <= set(names)
    assert (fitting.model.arch, fitting.model.depth, fitting.supermask.method) == (arch, depth, method)


@given(TRAITS, st.sets(st.sampled_from(["data.features", "model.dropout", "supermask.output_rms", "run.epochs"])))
def test_what_is_given_stays(traits: Traits, names: set[str]) -> None:
    fitting, choices = fitted(Config(), traits, names)
    assert not names & {choice.field for choice in choices}
    assert not names & fitting.changes(Config()).keys()


def test_dense_features_are_standardised_and_sparse_ones_are_not() -> None:
    assert chosen(SEEN)["data.features"] == "standardize"
    assert "data.features" not in chosen(replace(SEEN, density=0.01))
    assert "data.features" not in chosen(replace(SEEN, varies=False)), "nothing would be left of them"
    assert "data.features" not in chosen(SEEN, batch__placement="sharded"), "no host has those of all nodes"
    wide = replace(SEEN, density=0.01, spread=250.0)
    (choice,) = [each for each in fitted(Config(), wide, ())[1] if each.field == "data.features"]
    assert str(choice) == 'data.features "standardize" (a column has 250 times the deviation of the median one)'


def test_logits_start_small_where_labels_are_few() -> None:
    levels = [chosen(replace(SEEN, num_labels=count))["supermask.output_rms"] for count in (5, 50, 100, 150, 10**6)]
    assert levels == sorted(levels)
    assert levels[0] == 0.1
    assert levels[-1] == 1.0


def test_several_labels_or_targets_are_no_classes() -> None:
    many = replace(SEEN, num_features=2, num_classes=80)
    assert chosen(many)["supermask.output_rms"] == 10.0
    assert chosen(replace(many, has_classes=False))["supermask.output_rms"] == 1.0


def test_large_graphs_are_sampled() -> None:
    large = replace(SEEN, num_nodes=2_400_000, num_edges=120_000_000, num_labels=200_000)
    got = chosen(large, model__depth=3)
    assert got["batch.size"] == 1024
    assert len(got["batch.fan_out"]) == 3
    assert got["model.width"] > Config().model.width, "a weight of a ticket takes a bit"
    assert "model.width" not in chosen(large, supermask__method="dense")
    assert "batch.size" not in chosen(SEEN)


def test_the_first_layer_of_sampled_dense_features_is_exact() -> None:
    large = replace(SEEN, num_nodes=200_000)
    assert chosen(large)["batch.first_layer"] == "exact"
    assert chosen(SEEN, batch__size=64, batch__fan_out=[5, 5])["batch.first_layer"] == "exact"
    others = {
        "full batch": chosen(SEEN),
        "sparse features": chosen(replace(large, density=0.01)),
        "too large a table": chosen(replace(large, num_nodes=100_000_000)),
        "attention": chosen(large, model__arch="gat"),
        "a skip": chosen(large, model__depth=3),
        "an own network": chosen(large, model__factory="nets:build"),
        "features that hosts share out": chosen(large, batch__placement="sharded"),
    }
    assert [name for name, choices in others.items() if "batch.first_layer" in choices] == []


def test_few_features_are_combined_by_square_layers() -> None:
    few = replace(SEEN, num_features=6)
    assert chosen(few)["model.skip"] == chosen(few, supermask__method="dense")["model.skip"] == "initial"
    assert chosen(few)["supermask.min_layer_density"] > 0
    assert "supermask.min_layer_density" not in chosen(few, supermask__method="dense")
    assert chosen(few, model__depth=16)["model.skip"] == "initial"
    assert "model.skip" not in chosen(few, model__arch="gin-paper"), "which has none"
    assert "model.skip" not in chosen(SEEN)


def test_square_layers_stay_narrow() -> None:
    large = replace(SEEN, num_nodes=200_000, num_edges=3_000_000, num_labels=90_000)
    small, usual = chosen(replace(large, num_features=6)), chosen(large)
    assert "model.width" not in small, "a skip makes the first layer square"
    assert small["optim.lr"] < usual["optim.lr"]
    assert chosen(large, model__depth=3)["model.width"] == 512, "a layer of 2,048 by 2,048 takes long"


def test_sampled_square_layers_have_a_skip_and_a_small_rate() -> None:
    large = replace(SEEN, num_nodes=200_000, num_edges=3_000_000, num_labels=90_000)
    for depth in (3, 8):
        got = chosen(large, model__depth=depth)
        assert got["model.skip"] == "initial"
        assert got["supermask.min_layer_density"] > 0
        assert got["optim.lr"] < chosen(large)["optim.lr"]
    assert "model.skip" not in chosen(large, model__depth=3, supermask__method="dense")
    without = chosen(large, model__depth=3, model__arch="gin-paper")  # which has no skip
    assert "model.skip" not in without
    assert without["supermask.min_layer_density"] > 0
    assert "model.skip" not in chosen(SEEN, model__depth=3), "a full batch learns without"


def test_a_sparse_ticket_of_a_sampled_graph_is_twice_as_wide() -> None:
    large = replace(SEEN, num_nodes=200_000, num_edges=3_000_000, num_labels=90_000)
    widths = [chosen(large, supermask__sparsity=sparsity)["model.width"] for sparsity in (0.5, 0.9)]
    assert widths == [1024, 2048]
    assert chosen(replace(large, num_nodes=2_000_000))["model.width"] == 1024, "an evaluation keeps a row for each node"


def test_where_neighbours_differ_a_node_is_told_from_them() -> None:
    assert chosen(replace(SEEN, homophily=0.05))["model.arch"] == "sage"
    assert "model.arch" not in chosen(SEEN)
    assert "model.arch" not in chosen(replace(SEEN, homophily=0.0, num_known_edges=3)), "nothing is known of it"


@pytest.mark.parametrize(
    ("asked", "left_out"),
    [
        ({"model.arch": "gin-paper", "model.depth": 8}, "model.skip"),
        ({"model.skip": "initial", "model.identity": 0.2}, "model.arch"),
    ],
)
def test_a_rule_that_contradicts_what_is_given_is_left_out(asked: dict[str, Any], left_out: str) -> None:
    fitting, choices = fitted(Config().replace(asked), replace(SEEN, homophily=0.0), asked)
    names = {choice.field for choice in choices}
    assert left_out not in names
    assert "data.features" in names
    assert asked.items() <= fitting.with_effect().items()


def test_few_labels_of_a_large_graph_are_one_batch() -> None:
    assert chosen(replace(SEEN, num_nodes=10**7, num_labels=60))["batch.size"] == 60


def test_deep_networks_get_what_they_need() -> None:
    assert chosen(SEEN, model__depth=8)["model.skip"] == "initial"
    assert "model.skip" not in chosen(SEEN, model__depth=2)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A planted graph whose columns have units of their own."""
    graph = planted_graph(600)
    units = 10.0 ** torch.linspace(-2, 3, 16)
    write_store(replace(graph, x=(graph.x + 5.0) * units), tmp_path / "store")
    return tmp_path / "store"


def test_a_ticket_of_a_graph_that_nobody_has_tuned_for(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quiet = ["--log.to", "--run.epochs=60", "--model.width", "64", "--model.skip", "none"]
    reached = {}
    for name, extra in (("fitted", ()), ("plain", ("--no-rules",))):
        main(["train", "--data.name", str(store), "--run.folder", str(tmp_path / name), *quiet, *extra])
        told = capsys.readouterr()
        reached[name] = float(re.findall(r"test accuracy (\S+)", told.out)[0])
        assert ('ugts: data.features "standardize" (100% of the features are not zero)' in told.err) is (
            name == "fitted"
        )
    assert reached["fitted"] > reached["plain"] + 0.1
    config = load_toml(tmp_path / "fitted/config.toml")
    assert config.data.features == "standardize"
    assert (config.run.epochs, config.model.width, config.model.skip) == (60, 64, "none"), "they were given"
    main(["evaluate", str(tmp_path / "fitted")])
    again = float(re.findall(r"\ntest accuracy (\S+)", capsys.readouterr().out)[0])
    assert again == pytest.approx(reached["fitted"], abs=1e-3)


def _settings(rank: int, name: str) -> dict[str, Any]:
    ranks = Ranks(rank, 2, process_group=dist.group.WORLD)
    return fit_settings(Config().replace({"data.name": name}), ranks)[0].to_dict()


def test_ranks_choose_alike(store: Path) -> None:
    alone = fit_settings(Config().replace({"data.name": str(store)}), Ranks())[0].to_dict()
    assert spawn(2, _settings, str(store)) == [alone, alone]


def test_presets_files_and_runs_are_taken_as_they_are(store: Path, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(f'[data]\nname = "{store}"\n[model]\nwidth = 8\n[run]\nepochs = 4\n')
    main(["train", "--config", str(tmp_path / "own.toml"), "--run.folder", str(tmp_path / "run")])
    assert load_toml(tmp_path / "run/config.toml").data.features == "auto"
    main(["train", "--resume", str(tmp_path / "run"), "--run.folder", str(tmp_path / "branch")])
    branch = load_toml(tmp_path / "branch/config.toml")
    assert (branch.model.width, branch.data.features) == (8, "auto"), "the settings of the run that it goes on from"
    main(["train", str(tmp_path / "run")])
    assert load_toml(tmp_path / "run/config.toml").data.features == "auto"


def test_rules_of_link_prediction_know_no_labels() -> None:
    """Each edge is a label: nothing depends on the number of labelled nodes or their classes."""
    few = chosen(replace(SEEN, num_labels=1, homophily=-1.0), task__kind="link")
    assert few == chosen(SEEN, task__kind="link")
    assert few["supermask.output_rms"] == 0.35
    assert "batch.size" not in few
    large = chosen(replace(SEEN, num_edges=30_000_000), task__kind="link")
    assert (large["batch.size"], large["batch.fan_out"], large["run.epochs"]) == (8192, [15, 10], 12)
    assert "supermask.output_rms" not in chosen(SEEN, task__kind="link", supermask__method="dense")
