"""Which folder a run takes if none is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch.distributed as dist

from tests.processes import spawn
from tests.training.helpers import config, planted_graph
from ugts_dist.checkpointing import saver
from ugts_dist.checkpointing.identity import Identity, Resume
from ugts_dist.checkpointing.run_folder import open_folder
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.distributed.stopping import Decision, StopAgreement
from ugts_dist.errors import StoppedError
from ugts_dist.graphs import configured
from ugts_dist.graphs.checksum import DataChecksum
from ugts_dist.training.run import run

SETTINGS = config(run__epochs=4)
FIRST = Path("runs/digits-gcn-ugts-0.9-seed0")
SECOND = FIRST.with_name(f"{FIRST.name}-2")


class StopAtOnce(StopAgreement):
    def decide(self, step: int, steps_per_epoch: int, save: bool) -> Decision:
        return Decision(15, save)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(configured, "_opened", lambda _: planted_graph())


def stopped(settings: Config = SETTINGS) -> None:
    """A run that ends after its first step, saved."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saver, "StopAgreement", StopAtOnce)
        with pytest.raises(StoppedError):
            run(settings, Ranks())


def taken(settings: Config = SETTINGS, data: DataChecksum | None = None, source: str = "auto") -> tuple[Path, str]:
    """The folder that a run takes now, and the notes about it."""
    with open_folder(Identity(settings, data), Resume(source)) as opened:
        return opened.path, "; ".join(opened.notes)


def test_a_run_that_was_stopped_goes_on() -> None:
    stopped()
    assert taken() == (FIRST, f"{FIRST} was begun by the same command; for a new run instead: --resume never")
    result, folder = run(SETTINGS, Ranks())
    assert folder == FIRST
    assert not SECOND.exists()
    alone, _ = run(SETTINGS.replace({"run.folder": "alone"}), Ranks())
    assert (result.valid, result.test, result.epoch) == (alone.valid, alone.test, alone.epoch)
    assert (FIRST / "metrics.jsonl").read_bytes() == Path("alone/metrics.jsonl").read_bytes()
    assert taken() == (SECOND, f"{FIRST} is finished; this is a new run")


def test_another_command_or_other_data_begin_anew() -> None:
    stopped()
    assert taken(SETTINGS.replace({"optim.lr": 0.5})) == (SECOND, "")
    other = DataChecksum("planted", "0" * 64, 300)
    assert taken(data=other) == (
        FIRST.with_name(f"{FIRST.name}-3"),
        f"{FIRST} was begun on other data (something differ); this is a new run",
    )


def test_never_begins_anew() -> None:
    stopped()
    assert taken(source="never") == (SECOND, "")


def test_the_newest_of_several_counts() -> None:
    for source in ("auto", "never"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(saver, "StopAgreement", StopAtOnce)
            with pytest.raises(StoppedError):
                run(SETTINGS, Ranks(), Resume(source))
    assert taken()[0] == SECOND
    os.utime(SECOND / "config.toml", (0, 0))
    assert taken()[0] == FIRST


def test_a_run_without_checkpoints_keeps_what_it_has() -> None:
    stopped(SETTINGS.replace({"checkpoint.keep_last": 0}))
    (FIRST / "metrics.jsonl").write_text("{}\n")
    folder, told = taken()
    assert folder == SECOND
    assert told == f"{FIRST} has no checkpoint to resume from; this is a new run"
    assert (FIRST / "metrics.jsonl").read_text() == "{}\n"


def test_two_commands_at_a_time_do_not_share_a_folder() -> None:
    stopped()
    with open_folder(Identity(SETTINGS), Resume()) as opened:
        assert opened.path == FIRST
        folder, told = taken()
        assert folder == SECOND
        assert told == f"run.folder is {FIRST}, in use by {(FIRST / '.lock').read_text()}; this is another run"


def test_a_branch_takes_a_new_folder() -> None:
    stopped()
    assert taken(source=str(FIRST))[0] == SECOND


def test_what_is_no_run_is_left_alone() -> None:
    FIRST.mkdir(parents=True)
    (FIRST / "config.toml").write_text("not a configuration")
    FIRST.with_name("digits-gcn-ugts-0.9-seed0-x").mkdir()
    assert taken() == (SECOND, "")


def _on_rank(rank: int, folder: Path) -> list[Path]:
    os.chdir(folder)
    ranks, folders = Ranks(rank, 2, process_group=dist.group.WORLD), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(configured, "_opened", lambda _: planted_graph())
        folders += [run(SETTINGS, ranks)[1] for _ in range(2)]
    return folders


def test_ranks_agree_on_the_folder(tmp_path: Path) -> None:
    stopped()
    assert spawn(2, _on_rank, tmp_path) == [[FIRST, SECOND], [FIRST, SECOND]]
