"""Which trials a space has: every combination once, draws by seed, chains of a warm start."""

from __future__ import annotations

import itertools
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tuning.helpers import space
from tuning.plan import generations, linked, list_dense, list_trials, with_ancestors
from tuning.space import load_space, parse_space, space_names

LISTS = st.lists(st.integers(1, 6), min_size=1, max_size=3)

RANDOM = """
[base]
preset = "cora-gcn"
[fields]
"supermask.sparsity" = {grid = [0.5, 0.9, 0.99]}
"optim.lr" = {log_uniform = [0.001, 0.1]}
"model.width" = {uniform = [8, 64]}
"model.dropout" = {choice = [0.0, 0.5]}
[search]
kind = "random"
trials = 12
"""


@given(LISTS, LISTS)
def test_a_grid_has_every_combination_once(depths: list[int], widths: list[int]) -> None:
    text = f'[base]\npreset = "cora-gcn"\n[fields]\n"model.depth" = {{grid = {depths}}}\n'
    trials = list_trials(parse_space(text + f'"model.width" = {{grid = {widths}}}\n', "s.toml", "s"))
    pairs = [(trial.config.model.depth, trial.config.model.width) for trial in trials]
    assert pairs == list(dict.fromkeys(itertools.product(depths, widths)))
    assert len({trial.key for trial in trials}) == len(trials)


@settings(max_examples=10)
@given(st.integers(0, 2**31), st.integers(1, 12))
def test_draws_depend_on_the_seed_and_their_number_alone(seed: int, count: int) -> None:
    whole = list_trials(space(RANDOM, seed=seed))
    assert list_trials(space(RANDOM, seed=seed)) == whole
    assert list_trials(space(RANDOM, seed=seed, trials=count)) == whole[:count]
    assert list_trials(space(RANDOM, seed=seed + 1)) != whole
    for number, trial in enumerate(whole):
        config = trial.config
        assert config.supermask.sparsity == (0.5, 0.9, 0.99)[number % 3]
        assert 0.001 <= config.optim.lr <= 0.1
        assert 8 <= config.model.width <= 64
        assert config.model.dropout in (0.0, 0.5)


def test_a_fan_out_follows_the_depth() -> None:
    text = '[base]\npreset = "digits"\n[fields]\n"model.depth" = {grid = [1, 2, 4]}\n'
    trials = list_trials(parse_space(text, "s.toml", "s"))
    assert [list(trial.config.batch.fan_out) for trial in trials] == [[10], [10, 10], [10, 10, 10, 10]]


def test_a_warm_start_goes_from_each_sparsity_to_the_next() -> None:
    trials = linked(list_trials(space()))
    by_key = {trial.key: trial for trial in trials}
    groups = generations(trials)
    assert [len(group) for group in groups] == [2, 2]
    for trial in groups[1]:
        parent = by_key[trial.parent]
        assert parent.config.optim.lr == trial.config.optim.lr
        assert parent.config.supermask.sparsity == trial.config.supermask.initial_sparsity == 0.5
        assert trial.run_config(Path("runs")).run.init_scores == f"runs/{parent.key}"
        assert with_ancestors([trial], trials) == [parent, trial]
        assert trial.key not in {other.key for other in list_trials(space())}


def test_the_dense_networks_share_what_is_fixed() -> None:
    (dense,) = list_dense(space())
    assert (dense.config.supermask.method, dense.config.model.width, dense.config.run.epochs) == ("dense", 32, 12)
    assert not list_dense(space(dense=False))


def test_the_spaces_that_come_with_the_program_are_right() -> None:
    assert {"digits", "cora-gcn", "cora-gat", "citeseer-gat-depth", "pubmed-gat-bytes"} <= {*space_names()}
    for name in space_names():
        space = load_space(name)
        trials, dense = list_trials(space), list_dense(space)
        assert len(trials) >= 12
        assert (space.search.objective == "bytes") == name.endswith("-bytes")
        assert dense
        again = parse_space(space.to_toml(), "again", name)
        assert again.hash == space.hash
        assert [trial.key for trial in list_trials(again)] == [trial.key for trial in trials]


def test_a_trial_names_its_folders_as_a_worker_with_another_working_directory_finds_them(tmp_path: Path) -> None:
    folders = '"data.root" = "data"\n"run.spill" = "spill"\n'
    (trial,) = list_trials(parse_space(f'[base]\npreset = "digits"\n[fields]\n{folders}', "space.toml", "small"))
    config = trial.run_config(tmp_path)
    assert (config.data.root, config.run.spill) == (str(Path.cwd() / "data"), str(Path.cwd() / "spill"))
    assert config.determining() == trial.config.determining()
    unset = parse_space('[base]\npreset = "digits"\n', "space.toml", "small")
    assert list_trials(unset)[0].run_config(tmp_path).data.root == ""
