"""Grids: a finished run is reused, an unfinished one is repeated."""

from __future__ import annotations

import json
import signal
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.helpers import config
from tests.trials.small import store
from ugts_dist.config import Config
from ugts_dist.distributed.device import own_device
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError, InterruptedRunError
from ugts_dist.experiments import grid
from ugts_dist.experiments.grid import Task, find_or_run, finished, gpu_share, run_grid, run_key, visible_gpu


def test_the_key_names_what_determines_a_result_and_nothing_else() -> None:
    base = config()
    same = {"run.folder": "elsewhere", "log.progress": True, "data.root": "data", "run.device": "cpu"}
    assert all(run_key(base.replace({field: value})) == run_key(base) for field, value in same.items())
    other = {"run.seed": 1, "supermask.sparsity": 0.91, "data.split": 1, "optim.lr": 0.02, "model.width": 33}
    assert len({run_key(base), *(run_key(base.replace({field: value})) for field, value in other.items())}) == 6


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model.dropout_at", "input"),
        ("supermask.input_sparsity", 0.9),
        ("supermask.coats", 3),
        ("supermask.signed", True),
        ("supermask.pruned", 0.5),
        ("supermask.locked", 0.05),
        ("supermask.fold", True),
    ],
)
def test_a_younger_field_changes_the_key_only_where_it_has_not_its_default(field: str, value: Any) -> None:
    base = config().replace({"supermask.ranking": "magnitude"})  # which signed masks need
    assert field not in base.determining()
    assert run_key(base.replace({field: value})) != run_key(base)


def test_a_finished_run_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config(run__epochs=3)
    assert finished(settings, tmp_path) is None
    first = find_or_run(settings, tmp_path)
    monkeypatch.setattr(grid, "run", lambda *args: pytest.fail("the run was repeated"))
    again = find_or_run(settings, tmp_path)
    assert first == again


def test_a_run_that_was_interrupted_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config(run__epochs=3)
    with monkeypatch.context() as patch:
        patch.setattr("ugts_dist.training.run.fit", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(InterruptedRunError):
            find_or_run(settings, tmp_path)
    assert not list(tmp_path.iterdir())
    result = find_or_run(settings, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [run_key(settings)]
    assert json.loads((tmp_path / run_key(settings) / "result.json").read_text())["test"] == result["test"]


def test_a_finished_run_is_found_by_its_data_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also if the data of a run have noise; a run without a checksum of its data is accepted."""
    data = {"data.name": str(store(tmp_path / "data")), "batch.size": 0, "batch.fan_out": [], "checkpoint.keep_last": 0}
    settings = [config(run__epochs=2).replace({**data, "data.edge_noise": noise}) for noise in (0.0, 0.5)]
    results = [find_or_run(each, tmp_path / "runs") for each in settings]
    assert run_grid(settings, tmp_path / "runs", 1) == results
    assert "note" not in capsys.readouterr().err
    store(tmp_path / "data", y=lambda y: y.roll(1))
    for each in settings:
        with pytest.raises(InputError, match=r"a finished run on other data, labels differ .* or another folder"):
            run_grid([each], tmp_path / "runs", 1)
    for result in results:
        Path(result["path"]).unlink()
    assert run_grid(settings, tmp_path / "runs", 1) == results
    assert "the data of 2 finished run(s) can't be compared" in capsys.readouterr().err


def last_first(task: Task, configs: Collection[Config], store: Path, workers: int) -> Iterator[str]:
    """Run tasks in this process, like workers that end in another order than they began."""
    return (task(config, store) for config in [*configs][::-1])


def test_the_first_failure_ends_a_grid_and_keeps_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = [config(run__epochs=2, run__seed=seed) for seed in range(4)]
    bad = config(run__epochs=2, data__name="cora", data__root=str(tmp_path / "nothing"))
    with pytest.raises(InputError, match="cora needs"):
        run_grid([good[0], bad, *good[1:]], tmp_path / "store", workers=1)
    assert finished(good[0], tmp_path / "store") is not None
    monkeypatch.setattr(grid, "_on_processes", last_first)
    assert len(run_grid(good, tmp_path / "store", workers=1)) == 4


def test_results_come_in_the_order_of_the_configurations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "_on_processes", last_first)
    settings = [config(run__epochs=2, run__seed=seed) for seed in (3, 1, 2)]
    results = run_grid([*settings, settings[0]], tmp_path, workers=2)
    assert len(list(tmp_path.iterdir())) == 3
    assert [Path(result["path"]).parent.name for result in results] == [run_key(c) for c in [*settings, settings[0]]]


# Where they run


def test_a_run_is_placed_where_its_configuration_wants_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    placed: list[tuple[str, torch.device]] = []

    def note(config: Config, ranks: Ranks) -> None:
        placed.append((config.run.device, ranks.device))
        raise KeyboardInterrupt

    monkeypatch.setattr(grid, "run", note)
    for device in ("auto", "cpu"):
        with pytest.raises(KeyboardInterrupt):
            find_or_run(config(run__device=device), tmp_path)
    assert placed == [("auto", own_device()), ("cpu", torch.device("cpu"))]


def test_workers_take_the_visible_gpus_in_turn() -> None:
    assert [visible_gpu(number, 2, None) for number in range(5)] == ["0", "1", "0", "1", "0"]
    assert [visible_gpu(number, 2, "5,GPU-7") for number in range(3)] == ["5", "GPU-7", "5"]


@pytest.mark.parametrize(
    ("cpus", "gpus", "share"),
    [(64, 0, 0.0), (64, 8, 0.25), (16, 8, 0.5), (8, 8, 1.0), (4, 8, 1.0)],
)
def test_a_few_tasks_share_a_gpu_of_a_cluster(cpus: int, gpus: int, share: float) -> None:
    assert gpu_share({"CPU": float(cpus), **({"GPU": float(gpus)} if gpus else {})}) == share


@contextmanager
def cluster(gpus: int) -> Iterator[str]:
    """The address of a cluster of one node, whose GPUs exist only in Ray's accounting."""
    from ray.cluster_utils import Cluster

    on_sigterm = signal.getsignal(signal.SIGTERM)
    head = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": gpus, "include_dashboard": False})
    try:
        yield head.address
    finally:
        head.shutdown()
        signal.signal(signal.SIGTERM, on_sigterm)


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_a_cluster_runs_a_grid_with_a_part_of_a_gpu_for_each_run(tmp_path: Path) -> None:
    settings = [config(run__epochs=2, run__seed=seed) for seed in range(2)]
    local = run_grid(settings, tmp_path / "here", workers=1)
    with cluster(gpus=1) as address:
        on_sigterm = signal.getsignal(signal.SIGTERM)
        remote = run_grid(settings, tmp_path / "there", workers=1, address=address)
        assert signal.getsignal(signal.SIGTERM) == on_sigterm
    assert [result["test"] for result in remote] == pytest.approx([result["test"] for result in local], abs=0.01)


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_a_cluster_without_a_gpu_refuses_cuda(tmp_path: Path) -> None:
    with (
        cluster(gpus=0) as address,
        pytest.raises(InputError, match=r"run\.device is cuda, but the cluster has no GPU"),
    ):
        run_grid([config(run__device="cuda")], tmp_path, workers=1, address=address)
