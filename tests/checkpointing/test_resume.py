"""A run that is stopped and resumed ends like one that was never interrupted."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from tests.processes import spawn
from tests.training.helpers import config, equal_share, planted_graph
from ugts_dist.checkpointing import checkpoint, run_folder, saver
from ugts_dist.checkpointing.broadcast import initial_scores
from ugts_dist.checkpointing.identity import Identity, Resume
from ugts_dist.checkpointing.result_file import read_result
from ugts_dist.config import Config, load_toml
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.distributed.stopping import Decision, StopAgreement
from ugts_dist.errors import InputError, StoppedError
from ugts_dist.graphs import configured
from ugts_dist.graphs.checksum import DataChecksum
from ugts_dist.graphs.graph import Graph
from ugts_dist.supermask import Ticket
from ugts_dist.tasks import NodeTask
from ugts_dist.training.fit import Result
from ugts_dist.training.run import run
from ugts_dist.training.trainer import Trainer, make_trainer

STEPS_PER_EPOCH = 3  # of 100 training nodes and a batch size of 40
EPOCHS = 12

KINDS = {
    "mini-batch": config(),
    "full-batch": config(batch__size=0, batch__fan_out=[]),
    "parts": config(batch__micro_batches=2, model__dropout=0.3),
    "rarely-evaluated": config(run__evaluate_every=5, optim__schedule="cosine"),
    "edge-popup-gat": config(supermask__method="edge-popup", model__arch="gat"),
    "dense": config(supermask__method="dense", optim__weight_decay=5e-4),
    "coats": config(supermask__coats=3),
    "signed": config(supermask__signed=True, supermask__ranking="magnitude"),
    "frozen": config(supermask__pruned=0.5, supermask__locked=0.05),
    "links": config(task__kind="link", task__embedding=16, batch__size=900, model__dropout=0.3),
    "links-full-batch": config(task__kind="link", task__embedding=16, batch__size=0, batch__fan_out=[]),
    "folded": config(supermask__fold=True, model__depth=4, batch__fan_out=[5, 5, 2, 2]),
}


def _planted(_: Config) -> Graph:
    return planted_graph()


@pytest.fixture(autouse=True)
def data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configured, "_opened", _planted)


class StopAt(StopAgreement):
    """Stops the run after some of its steps, as a signal would."""

    at: frozenset[int] = frozenset()

    def decide(self, step: int, steps_per_epoch: int, save: bool) -> Decision:
        return Decision(signal.SIGTERM if step in self.at else 0, save)


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def plan(*steps: int) -> None:
        monkeypatch.setattr(saver, "StopAgreement", type("Stopping", (StopAt,), {"at": frozenset(steps)}))

    return plan


def run_in_parts(settings: Config, ranks: Ranks | None = None, **resume: Any) -> tuple[Result, int]:
    """Start the run again each time that it is stopped, with another state of torch's generator."""
    stops = 0
    while True:
        torch.manual_seed(stops)
        try:
            result, _ = run(settings, ranks or Ranks(), Resume(**resume))
        except StoppedError:
            stops += 1
        else:
            return result, stops


def assert_same_run(folder: Path, other: Path) -> None:
    """Everything written is the same, bit for bit, except the time that it took."""
    for name in ("metrics.jsonl", "best.ticket", "best.safetensors"):
        assert (folder / name).exists() == (other / name).exists()
        if (folder / name).exists():
            assert (folder / name).read_bytes() == (other / name).read_bytes(), name
    results = [read_result(path) for path in (folder, other)]
    for result in results:
        del result["seconds"], result["path"]
    assert results[0] == results[1]
    last, last_other = (checkpoint.folders(path)[-1] for path in (folder, other))
    for name in ("scores.safetensors", "optimizer.safetensors"):
        assert (last / name).read_bytes() == (last_other / name).read_bytes(), name


@pytest.mark.parametrize("kind", KINDS)
def test_stopped_anywhere_a_run_ends_the_same(kind: str, tmp_path: Path, stop_after: Callable[..., None]) -> None:
    settings = KINDS[kind].replace({"run.epochs": EPOCHS})
    run(settings.replace({"run.folder": str(tmp_path / "alone")}), Ranks())
    last = EPOCHS * (1 if kind.endswith("full-batch") else STEPS_PER_EPOCH)
    # After the first step, within an epoch, at its end before it is evaluated, twice within one, at the very end.
    stop_after(1, 4, 5, 6, 10, last // 2, last - 1, last)
    _, stops = run_in_parts(settings.replace({"run.folder": str(tmp_path / "parts")}))
    assert stops == len({1, 4, 5, 6, 10, last // 2, last - 1, last})
    assert_same_run(tmp_path / "parts", tmp_path / "alone")


def test_a_run_that_patience_ended_ends_there_when_it_was_stopped_too(
    tmp_path: Path, stop_after: Callable[..., None]
) -> None:
    settings = config(run__epochs=60, run__patience=3, optim__lr=0.05)
    result, _ = run(settings.replace({"run.folder": str(tmp_path / "alone")}), Ranks())
    rows = [json.loads(line) for line in (tmp_path / "alone/metrics.jsonl").read_text().splitlines()]
    after_ramp = [row["valid"] for row in rows[30:]]
    assert len(rows) < 60
    assert result.epoch == 30 + after_ramp.index(max(after_ramp)) == len(rows) - 4
    last = len(rows) * STEPS_PER_EPOCH
    stop_after(4, last - STEPS_PER_EPOCH, last - 1, last)
    run_in_parts(settings.replace({"run.folder": str(tmp_path / "parts")}))
    assert_same_run(tmp_path / "parts", tmp_path / "alone")


def test_metrics_of_steps_to_come_are_written_once(tmp_path: Path, stop_after: Callable[..., None]) -> None:
    """The run continued after its last checkpoint and was killed in the middle of a line."""
    settings = config(run__folder=str(tmp_path / "run"), checkpoint__at_best=False)
    run(settings.replace({"run.folder": str(tmp_path / "alone")}), Ranks())
    stop_after(14)
    with pytest.raises(StoppedError, match=r"stopped by SIGTERM; to resume: ugts train .*/run"):
        run(settings, Ranks())
    lines = (tmp_path / "alone/metrics.jsonl").read_text().splitlines()
    (tmp_path / "run/metrics.jsonl").write_text("\n".join([*lines[:7], lines[7][:20]]))
    (tmp_path / "run/best.ticket").write_bytes((tmp_path / "alone/best.ticket").read_bytes())
    stop_after()
    run(settings, Ranks())
    assert_same_run(tmp_path / "run", tmp_path / "alone")


def test_a_finished_run_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config(run__folder=str(tmp_path / "run"), run__epochs=3)
    first, _ = run(settings, Ranks())
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*") if path.name != ".lock"}
    monkeypatch.setattr(Trainer, "step", None)
    second, folder = run(settings, Ranks())
    assert second == first
    assert folder == tmp_path / "run"
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_run_killed_before_its_first_checkpoint_begins_again(tmp_path: Path) -> None:
    settings = config(run__folder=str(tmp_path / "run"), run__epochs=3)
    run(settings.replace({"run.folder": str(tmp_path / "alone")}), Ranks())
    for files in ([], [".config.toml.123"], ["config.toml", "launch.json", ".lock"]):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        (tmp_path / "run").mkdir()
        for name in files:
            (tmp_path / "run" / name).write_text(settings.to_toml() if name == "config.toml" else "")
        run(settings, Ranks())
        assert_same_run(tmp_path / "run", tmp_path / "alone")


def test_a_damaged_checkpoint_is_named_and_passed_over(
    tmp_path: Path, stop_after: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = config(run__folder=str(tmp_path / "run"), checkpoint__every_steps=4)
    run(settings.replace({"run.folder": str(tmp_path / "alone")}), Ranks())
    stop_after(13)
    with pytest.raises(StoppedError):
        run(settings, Ranks())
    newest = checkpoint.folders(tmp_path / "run")[-1]
    assert newest.name == "step-00000013"
    data = (newest / "scores.safetensors").read_bytes()
    (newest / "scores.safetensors").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    stop_after()
    run(settings, Ranks())
    shown = capsys.readouterr().err
    assert "step-00000013/scores.safetensors: " in shown
    assert "skipped" in shown
    assert "resumes at epoch 3, step 3 of 3" in shown
    assert_same_run(tmp_path / "run", tmp_path / "alone")


def test_only_the_last_checkpoints_and_the_best_are_kept(tmp_path: Path) -> None:
    settings = config(run__folder=str(tmp_path / "run"), checkpoint__every_steps=2, checkpoint__keep_last=3)
    result, _ = run(settings, Ranks())
    kept = checkpoint.folders(tmp_path / "run")
    states = [checkpoint.read(path) for path in kept]
    assert [state.epoch * 3 + state.step for state in states][-3:] == [34, 36, 36]
    assert result.epoch + 1 in [state.epoch for state in states if state.is_best]
    assert len(kept) <= 4
    assert all(not path.name.startswith(".") for path in (tmp_path / "run/checkpoints").iterdir())


def test_none_is_written_where_none_is_wanted(tmp_path: Path, stop_after: Callable[..., None]) -> None:
    settings = config(run__folder=str(tmp_path / "run"), checkpoint__keep_last=0)
    stop_after(7)
    with pytest.raises(StoppedError, match="nothing was saved"):
        run(settings, Ranks())
    assert not (tmp_path / "run/checkpoints").exists()


# What a run may not go on with


@pytest.fixture
def stopped(tmp_path: Path, stop_after: Callable[..., None]) -> Config:
    """A run that was stopped within its third epoch."""
    settings = config(run__folder=str(tmp_path / "run"))
    stop_after(7)
    with pytest.raises(StoppedError):
        run(settings, Ranks())
    stop_after()
    return settings


def refused(settings: Config, **resume: Any) -> str:
    with pytest.raises(InputError) as error:
        run(settings, Ranks(), Resume(**resume))
    message = str(error.value)
    assert "\n" not in message
    return message


def test_another_configuration_is_refused_with_what_differs(stopped: Config) -> None:
    other = stopped.replace({"optim.lr": 0.5, "model.dropout": 0.25, "log.progress": True, "run.timeout": 7.0})
    message = refused(other)
    assert "a run with model.dropout 0.2 (now 0.25), optim.lr 0.01 (now 0.5);" in message
    assert "--resume.override model.dropout optim.lr" in message
    assert "optim.lr 0.01" in refused(other, override=("model.dropout",))
    assert "--resume.override optim.lrr: unknown, allowed are data.name" in refused(other, override=("optim.lrr",))


def test_fields_can_be_overridden(stopped: Config, tmp_path: Path) -> None:
    other = stopped.replace({"run.epochs": 15, "optim.lr": 0.5})
    result, _ = run(other, Ranks(), Resume(override=("run.epochs", "optim.lr")))
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(15))
    assert [line["lr"] for line in lines] == [0.01] * 2 + [0.5] * 13
    assert result.metric == "accuracy"
    kept = list((tmp_path / "run").glob("config.until-step-*.toml"))
    assert [path.name for path in kept] == ["config.until-step-00000007.toml"]
    assert "epochs = 12" in kept[0].read_text()
    assert "epochs = 15" in (tmp_path / "run/config.toml").read_text()


def test_a_finished_run_can_be_extended(tmp_path: Path) -> None:
    settings = config(run__folder=str(tmp_path / "run"), supermask__method="edge-popup")
    run(settings, Ranks())
    run(settings.replace({"run.epochs": 20}), Ranks(), Resume(override=("run.epochs",)))
    run(settings.replace({"run.epochs": 20, "run.folder": str(tmp_path / "alone")}), Ranks())
    assert_same_run(tmp_path / "run", tmp_path / "alone")
    assert (tmp_path / "run/result.until-step-00000036-epoch-11.json").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.width": 16}, "scores of other frozen weights"),
        ({"supermask.weight_init": "uniform"}, "scores of other frozen weights"),
        ({"batch.size": 20}, "1 of 3 steps of an epoch are done, which has 5 now"),
        ({"run.epochs": 1, "supermask.ramp": 0.0}, "run.epochs is 1, allowed is 2 or more"),
    ],
)
def test_what_can_not_be_overridden(stopped: Config, changes: dict[str, Any], message: str) -> None:
    assert message in refused(stopped.replace(changes), override=tuple(changes))


# Data and configurations that have changed since


def changed(graph: Graph, **arrays: Any) -> Callable[[Config], Graph]:
    return lambda _: dataclasses.replace(graph, **arrays)


def test_other_data_are_refused_unless_they_are_overridden(
    stopped: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = planted_graph()
    monkeypatch.setattr(configured, "_opened", changed(graph, y=graph.y.roll(1)))
    was, now = (DataChecksum.of(data).sha256 for data in (graph, configured.load_graph(stopped)))
    for settings, source in (
        (stopped, "auto"),
        (stopped.replace({"run.folder": str(tmp_path / "branch")}), str(tmp_path / "run")),
    ):
        message = refused(settings, source=source)
        assert f"a run on other data, labels differ (SHA-256 {was}, now {now}); to resume with these: " in message
        assert message.endswith("--resume.override data")
    assert not (tmp_path / "branch").exists()
    result, _ = run(stopped, Ranks(), Resume(override=("data",)))
    assert checkpoint.folders(tmp_path / "run")
    state = checkpoint.newest_state(tmp_path / "run")
    assert state is not None
    assert state.data == DataChecksum.of(configured.load_graph(stopped))
    # Finished with the new data, it is found with these, and not with the old ones.
    assert run(stopped, Ranks())[0] == result
    monkeypatch.setattr(configured, "_opened", _planted)
    assert "a run on other data, labels differ" in refused(stopped)
    assert "other data" not in capsys.readouterr().err


def test_a_finished_run_without_checkpoints_is_known_by_its_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for method, name in (("ugts", "best.ticket"), ("dense", "best.safetensors")):
        settings = config(
            run__folder=str(tmp_path / method), run__epochs=2, checkpoint__keep_last=0, supermask__method=method
        )
        result, _ = run(settings, Ranks())
        graph = planted_graph()
        with monkeypatch.context() as patch:
            patch.setattr(configured, "_opened", changed(graph, x=graph.x + 1))
            assert "a run on other data, features differ" in refused(settings)
        edit(tmp_path / method / "config.toml", "lr = 0.01", "lr = 0.5")
        assert "a run with optim.lr 0.01 (now 0.5);" in refused(load_toml(tmp_path / method / "config.toml"))
        edit(tmp_path / method / "config.toml", "lr = 0.5", "lr = 0.01")
        assert run(settings, Ranks())[0] == result
        # Without its network its identity is unknown: the result is accepted.
        (tmp_path / method / name).unlink()
        monkeypatch.setattr(configured, "_opened", changed(graph, x=graph.x + 1))
        assert run(settings, Ranks())[0] == result
        monkeypatch.setattr(configured, "_opened", _planted)


def test_a_checkpoint_without_a_checksum_goes_on_with_a_line(
    stopped: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Older versions wrote no checksum."""
    file = checkpoint.folders(tmp_path / "run")[-1] / "state.json"
    state = json.loads(file.read_text().split("\n")[1])
    del state["data"]
    text = json.dumps(state)
    file.write_text(f"{hashlib.sha256(text.encode()).hexdigest()} 1\n{text}\n")
    run(stopped.replace({"run.folder": str(tmp_path / "alone")}), Ranks())
    capsys.readouterr()
    run(stopped, Ranks())
    told = [line for line in capsys.readouterr().err.splitlines() if "checksum" in line]
    assert len(told) == 1
    assert told[0].endswith("has no checksum of its data: changes of the data since then can't be detected")
    assert_same_run(tmp_path / "run", tmp_path / "alone")


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


def test_an_edited_configuration_is_refused_with_what_differs(stopped: Config, tmp_path: Path) -> None:
    run(stopped.replace({"run.folder": str(tmp_path / "alone")}), Ranks())
    file = tmp_path / "run/config.toml"
    edit(file, "lr = 0.01", "lr = 0.5")
    edit(file, "weight_decay = 0.0", "weight_decay = 0.5")
    message = refused(load_toml(file))
    assert (
        "a run with optim.lr 0.01 (now 0.5), optim.weight_decay 0.0 (now 0.5); to resume with other values: " in message
    )
    assert message.endswith("--resume.override optim.lr optim.weight_decay")
    edit(file, "lr = 0.5", "lr = 0.01")
    edit(file, "weight_decay = 0.5", "weight_decay = 0.0")
    run(load_toml(file), Ranks())
    assert_same_run(tmp_path / "run", tmp_path / "alone")
    edit(file, "lr = 0.01", "lr = 0.5")
    assert "a run with optim.lr 0.01 (now 0.5)" in refused(load_toml(file))


def test_what_was_overridden_once_need_not_be_again(stopped: Config, tmp_path: Path, stop_after: Any) -> None:
    """Also if the run was killed before its next checkpoint; a later edit is detected."""
    other = stopped.replace({"optim.lr": 0.02})
    shutil.copytree(tmp_path / "run", tmp_path / "killed")
    run(other, Ranks(), Resume(override=("optim.lr",)))
    killed = other.replace({"run.folder": str(tmp_path / "killed")})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", None)  # dies in its first step
        with pytest.raises(TypeError):
            run(killed, Ranks(), Resume(override=("optim.lr",)))
    edit(tmp_path / "killed/config.toml", "lr = 0.02", "lr = 0.5")
    assert "optim.lr 0.02 (now 0.5)" in refused(load_toml(tmp_path / "killed/config.toml"))
    edit(tmp_path / "killed/config.toml", "lr = 0.5", "lr = 0.02")
    run(load_toml(tmp_path / "killed/config.toml"), Ranks())
    assert_same_run(tmp_path / "killed", tmp_path / "run")


def test_a_field_that_is_left_out_of_the_key_by_default_is_compared(stopped: Config) -> None:
    assert "supermask.coats 1 (now 3)" in refused(stopped.replace({"supermask.coats": 3}))


def test_never_takes_a_new_folder_only(stopped: Config, tmp_path: Path) -> None:
    assert "which exists; allowed is a new folder" in refused(stopped, source="never")
    result, folder = run(stopped.replace({"run.folder": str(tmp_path / "new")}), Ranks(), Resume("never"))
    assert folder == tmp_path / "new"
    assert result.epoch >= 0


def test_from_a_path_a_new_folder_goes_on(stopped: Config, tmp_path: Path) -> None:
    run(stopped.replace({"run.folder": str(tmp_path / "alone")}), Ranks())
    before = sorted((tmp_path / "run").rglob("*"))
    for number, source in enumerate((tmp_path / "run", checkpoint.folders(tmp_path / "run")[-1])):
        run(stopped.replace({"run.folder": str(tmp_path / f"new{number}")}), Ranks(), Resume(str(source)))
        assert_same_run(tmp_path / f"new{number}", tmp_path / "alone")
    assert sorted((tmp_path / "run").rglob("*")) == before
    none = stopped.replace({"run.folder": str(tmp_path / "none")})
    assert "not a checkpoint" in refused(none, source=str(tmp_path / "nowhere"))
    assert "no valid checkpoint" in refused(none, source=str(tmp_path))
    assert "model.width 32 (now 16)" in refused(none.replace({"model.width": 16}), source=str(tmp_path / "run"))
    assert not (tmp_path / "none").exists()


def test_a_folder_in_use_is_not_shared(stopped: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "_LOCK_SECONDS", 0.2)
    with run_folder.open_folder(Identity(stopped), Resume()):
        assert "in use by process" in refused(stopped)


# From another run's scores


def test_a_run_starts_from_the_scores_of_another(tmp_path: Path) -> None:
    first = config(run__folder=str(tmp_path / "first"), supermask__sparsity=0.5)
    run(first, Ranks())
    best = checkpoint.at(tmp_path / "first", best=True)
    assert best.is_best
    changes = {"supermask.sparsity": 0.8, "supermask.initial_sparsity": 0.5, "run.init_scores": str(tmp_path / "first")}
    second = first.replace({**changes, "run.folder": str(tmp_path / "second")})
    method = _training(second).method
    for name, score in method.trained().items():
        assert torch.equal(score, best.tensors["trained"][name])
    run(second, Ranks())
    sparsities = [json.loads(line)["sparsity"] for line in (tmp_path / "second/metrics.jsonl").read_text().splitlines()]
    assert sparsities[0] == 0.5
    assert sparsities[-1] == 0.8
    one, other = (Ticket.load(tmp_path / name / "best.ticket") for name in ("first", "second"))
    assert one.fingerprint == other.fingerprint
    assert other.sparsity == pytest.approx(0.8, abs=1e-3)


def _training(settings: Config) -> Trainer:
    scores = initial_scores(settings.run.init_scores, Ranks())
    return make_trainer(settings, NodeTask(planted_graph()), Ranks(), scores=scores)


def test_scores_of_other_weights_are_refused(tmp_path: Path) -> None:
    run(config(run__folder=str(tmp_path / "first"), run__epochs=2), Ranks())
    other = config(run__folder=str(tmp_path / "second"), run__init_scores=str(tmp_path / "first"), run__seed=1)
    assert "scores of other frozen weights" in refused(other)
    assert not (tmp_path / "second").exists()
    assert "not a checkpoint" in refused(other.replace({"run.init_scores": str(tmp_path / "none")}))


def test_scores_may_come_from_other_data_which_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = config(run__folder=str(tmp_path / "first"), run__epochs=2)
    run(first, Ranks())
    second = first.replace({"run.folder": str(tmp_path / "second"), "run.init_scores": str(tmp_path / "first")})
    run(second, Ranks())
    assert "note" not in capsys.readouterr().err
    graph = planted_graph()
    monkeypatch.setattr(configured, "_opened", changed(graph, train=graph.train[:-1]))
    run(second.replace({"run.folder": str(tmp_path / "third")}), Ranks())
    notes = [line for line in capsys.readouterr().err.splitlines() if "note" in line]
    assert len(notes) == 1
    assert notes[0].endswith("were found on other data: split differ")


# On several ranks


def _run_rank(rank: int, world_size: int, settings: Config, stop: int) -> tuple[Result | None, set[Any]]:
    """One rank's part of a run that ends after `stop` steps: its result, and the seed nodes of each step."""
    ranks = Ranks(rank, world_size, process_group=dist.group.WORLD)
    seeds: set[Any] = set()
    step = Trainer.step

    def noted(self: Trainer, batch: Any, sparsity: float) -> Tensor:
        seeds.update((batch.step, int(node)) for node in batch.nodes[batch.rows])
        return step(self, batch, sparsity)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(configured, "_opened", _planted)
        patch.setattr(saver, "StopAgreement", type("Stopping", (StopAt,), {"at": frozenset({stop})}))
        patch.setattr(Trainer, "step", noted)
        try:
            result, _ = run(settings, ranks)
        except StoppedError:
            return None, seeds
    return result, seeds


def _on_ranks(world_size: int, settings: Config, stop: int = -1) -> tuple[Result | None, set[Any]]:
    results = spawn(world_size, _run_rank, world_size, settings, stop)
    assert sum(len(seeds) for _, seeds in results) == len(set().union(*(seeds for _, seeds in results)))
    return results[0][0], set().union(*(seeds for _, seeds in results))


def test_a_run_moves_between_numbers_of_ranks(tmp_path: Path) -> None:
    settings = config(run__folder=str(tmp_path / "moved"))
    alone = settings.replace({"run.folder": str(tmp_path / "alone")})
    expected, seeds = _on_ranks(2, alone)
    assert expected is not None
    seen: set[Any] = set()
    for world_size, stop in ((2, 7), (2, 8), (1, 16), (4, -1)):
        result, new = _on_ranks(world_size, settings, stop)
        assert not seen & new
        seen |= new
    assert seen == seeds
    assert result is not None
    masks = [Ticket.load(tmp_path / name / "best.ticket").masks for name in ("moved", "alone")]
    assert equal_share(*masks) >= 0.999
    lines = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("moved", "alone")
    ]
    for moved, unmoved in zip(*lines, strict=True):
        assert moved == pytest.approx(unmoved, abs=1e-5)
    for name in ("valid", "test", "sparsity"):
        assert getattr(result, name) == pytest.approx(getattr(expected, name), abs=1e-5)


def _refused_rank(rank: int, settings: Config, other: tuple[int, ...]) -> str:
    """The error on a rank if the ranks of `other` have other data."""
    graph = planted_graph()
    mine = changed(graph, y=graph.y.roll(1)) if rank in other else _planted
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(configured, "_opened", mine)
        with pytest.raises(InputError) as error:
            run(settings, Ranks(rank, 2, process_group=dist.group.WORLD))
    return str(error.value)


def _refused_ranks(rank: int, settings: Config) -> list[str]:
    return [_refused_rank(rank, settings, other) for other in ((1,), (0,), (0, 1))]


def test_all_ranks_refuse_other_data_together(stopped: Config) -> None:
    """The data of one rank have changed, or those of all ranks."""
    one, other = spawn(2, _refused_ranks, stopped)
    assert one == other
    for message in one[:2]:
        assert "rank 1 on " in message
        assert "has other data than rank 0: labels differ" in message
    assert "a run on other data, labels differ" in one[2]


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_stopped_within_an_epoch_end_bit_identical(world_size: int, tmp_path: Path) -> None:
    settings = config(run__folder=str(tmp_path / "parts"), model__arch="sage", model__width=64)
    _on_ranks(world_size, settings.replace({"run.folder": str(tmp_path / "alone")}))
    for stop in (7, 8, 20, -1):
        _on_ranks(world_size, settings, stop)
    assert_same_run(tmp_path / "parts", tmp_path / "alone")
    last = checkpoint.read(checkpoint.folders(tmp_path / "parts")[-1])
    assert dataclasses.asdict(last)["losses"] == [0.0] * world_size


@pytest.mark.gpu
def test_a_run_moves_to_a_gpu_and_back(tmp_path: Path, stop_after: Callable[..., None]) -> None:
    settings = config(run__folder=str(tmp_path / "moved"))
    alone, _ = run(settings.replace({"run.folder": str(tmp_path / "alone")}), Ranks())
    for device, stop in (("cpu", 7), ("cuda", 20), ("cpu", -1)):
        stop_after(stop)
        if stop > 0:
            with pytest.raises(StoppedError):
                run(settings, Ranks(device=torch.device(device)))
        else:
            result, _ = run(settings, Ranks(device=torch.device(device)))
    masks = [Ticket.load(tmp_path / name / "best.ticket").masks for name in ("moved", "alone")]
    assert equal_share(*masks) >= 0.999
    assert result.valid == pytest.approx(alone.valid, abs=0.02)
