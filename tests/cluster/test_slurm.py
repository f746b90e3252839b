"""Dry runs of the batch scripts: what they execute, how they stop, and when they ask to be queued again."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cluster.stubs import job

UNTIL_SIGNALLED = 'touch "$NOTES/running"\nuntil [[ -e $NOTES/signalled ]]; do sleep 0.05; done\nexit 75\n'
UNTIL_TERMINATED = "trap 'exit 75' TERM\ntouch \"$NOTES/running\"\nwhile :; do sleep 0.05; done\n"


def ends(process: subprocess.Popen[str]) -> int:
    process.communicate(timeout=60.0)
    return process.returncode


def once_running(notes: Path) -> None:
    deadline = time.monotonic() + 60.0
    while not (notes / "running").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_torchrun_starts_one_launcher_a_node_that_meet_on_the_first(tmp_path: Path) -> None:
    dry = job(tmp_path)
    assert dry.run("slurm-torchrun.sbatch", "--preset", "products-sage", "--run.folder", "/shared/a run") == 0
    (launch,) = dry.calls("ugts-launch")
    assert "--nnodes=2 --nproc-per-node=gpu --rdzv-backend=c10d --rdzv-endpoint=n1:29721 --rdzv-id=4321" in launch
    assert launch.endswith("-m ugts_dist train --preset products-sage --run.folder /shared/a run")
    assert "--kill-on-bad-exit=0" in dry.calls("srun")[0]
    assert dry.calls("scontrol") == ["show hostnames n[1-2]"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--preset products-sage", "no run folder; say --run.folder FOLDER"),
        ("", "no run folder"),
        ("--preset digits --run.folder", "no run folder"),
        ("--preset digits --run.folder=", "no run folder"),
    ],
)
def test_a_run_without_a_folder_is_refused(tmp_path: Path, arguments: str, told: str) -> None:
    dry = job(tmp_path)
    process = dry.start("slurm-torchrun.sbatch", *arguments.split())
    shown, _ = process.communicate(timeout=60.0)
    assert process.returncode == 2
    assert shown.startswith(f"slurm-torchrun: {told}")
    assert shown.count("\n") == 1
    assert not dry.calls("srun")


@pytest.mark.parametrize(
    "arguments", ["/shared/run", "--run.folder=/shared/run", "--run.folder /shared/run --preset a"]
)
def test_every_way_to_name_a_run_folder_is_known(tmp_path: Path, arguments: str) -> None:
    dry = job(tmp_path)
    assert dry.run("slurm-torchrun.sbatch", *arguments.split()) == 0
    assert dry.calls("ugts-launch")[0].endswith(f"-m ugts_dist train {arguments}")


def test_the_ranks_run_in_a_container(tmp_path: Path) -> None:
    dry = job(tmp_path)
    given = {"UGTS_IMAGE": "/shared/ugts.sqsh", "UGTS_MOUNTS": "/shared:/shared,/raid:/raid", "UGTS_STAGE": "products"}
    assert dry.run("slurm-torchrun.sbatch", "--preset", "a", "--run.folder", "/shared/run", **given) == 0
    steps = dry.calls("srun")
    assert [step.split()[-1] for step in steps] == ["/raid/ugts-stores", "/shared/run"]
    scripts = f"{tmp_path}/cluster:{tmp_path}/cluster"
    for step in steps:
        assert "--container-image=/shared/ugts.sqsh --container-workdir=/ " in step
        assert f"--container-mounts={scripts},/shared:/shared,/raid:/raid " in step
        assert "--container-env=UGTS_STORES," in step


def test_in_a_container_the_run_folder_is_a_whole_path(tmp_path: Path) -> None:
    dry = job(tmp_path)
    process = dry.start("slurm-torchrun.sbatch", "--run.folder", "runs/mine", UGTS_IMAGE="ugts.sqsh")
    shown, _ = process.communicate(timeout=60.0)
    assert (process.returncode, dry.calls("srun")) == (2, [])
    assert "--run.folder is runs/mine; in a container it must be a whole path" in shown


def test_the_store_is_copied_to_every_node_before_the_run(tmp_path: Path) -> None:
    dry = job(tmp_path, ugts_launch='echo "$UGTS_STORES $NCCL_SOCKET_IFNAME $GLOO_SOCKET_IFNAME" >"$NOTES/seen"')
    given = {"UGTS_STAGE": "products", "UGTS_STORES": "/shared", "UGTS_LOCAL": "/disk", "UGTS_INTERFACE": "ib0"}
    assert dry.run("slurm-torchrun.sbatch", "/shared/run", **given) == 0
    assert dry.calls("stage-store.sh") == ["products /shared /disk"]
    assert (dry.notes / "seen").read_text() == "/disk =ib0 ib0\n"


def test_a_copy_that_fails_ends_the_job(tmp_path: Path) -> None:
    dry = job(tmp_path, **{"stage-store.sh": "exit 2"})
    assert dry.run("slurm-torchrun.sbatch", "/shared/run", UGTS_STAGE="products") == 2
    assert not dry.calls("ugts-launch")


def test_torchrun_saves_before_the_time_is_up_and_is_queued_again(tmp_path: Path) -> None:
    dry = job(tmp_path, ugts_launch=UNTIL_SIGNALLED)
    process = dry.start("slurm-torchrun.sbatch", "/shared/run")
    once_running(dry.notes)
    process.send_signal(signal.SIGUSR1)
    assert ends(process) == 75
    assert dry.calls("scancel") == ["--signal=USR1 4321"]
    assert dry.calls("scontrol")[-1] == "requeue 4321"


def test_a_cancelled_job_is_not_queued_again(tmp_path: Path) -> None:
    dry = job(tmp_path, ugts_launch=UNTIL_SIGNALLED)
    process = dry.start("slurm-torchrun.sbatch", "/shared/run")
    once_running(dry.notes)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    (dry.notes / "signalled").touch()  # the batch system signals the steps by itself
    assert ends(process) == 75
    assert dry.calls("scontrol") == ["show hostnames n[1-2]"]


@pytest.mark.parametrize(("code", "again"), [(75, True), (1, False), (0, False)])
def test_only_try_again_is_queued_again(tmp_path: Path, code: int, again: bool) -> None:
    dry = job(tmp_path, ugts_launch=f"exit {code}")
    assert dry.run("slurm-torchrun.sbatch", "/shared/run") == code
    assert ("requeue 4321" in dry.calls("scontrol")) == again


def test_a_search_has_a_cluster_with_a_token_of_its_own(tmp_path: Path) -> None:
    seen = 'echo "$RAY_AUTH_MODE" >"$NOTES/seen"; stat -c %a "$RAY_AUTH_TOKEN_PATH" >>"$NOTES/seen"'
    dry = job(tmp_path, ugts=f'{seen}; wc -c <"$RAY_AUTH_TOKEN_PATH" >>"$NOTES/seen"')
    assert dry.run("slurm-ray.sbatch", "--space", "cora-gcn", "--storage", "/shared", UGTS_INTERFACE="eth0") == 0
    (start,) = dry.calls("ray")
    assert start.startswith("symmetric-run --address 10.0.0.1:6700 --min-nodes 2 --num-cpus=16 --num-gpus=8")
    assert dry.calls("ugts") == ["tune --address 10.0.0.1:6700 --space cora-gcn --storage /shared"]
    assert (dry.notes / "seen").read_text().split() == ["token", "600", "64"]
    assert not list(tmp_path.glob(".ray-*"))  # the token goes with the job
    assert "requeue 4321" not in dry.calls("scontrol")


def test_a_search_is_stopped_before_the_time_is_up_and_queued_again(tmp_path: Path) -> None:
    dry = job(tmp_path, ugts=UNTIL_TERMINATED)
    process = dry.start("slurm-ray.sbatch")
    once_running(dry.notes)
    process.send_signal(signal.SIGUSR1)
    assert ends(process) == 75
    assert dry.calls("scontrol")[-1] == "requeue 4321"


def test_ray_that_does_not_start_is_a_failure_though_it_says_nothing(tmp_path: Path) -> None:
    dry = job(tmp_path, ray="exit 0")
    assert dry.run("slurm-ray.sbatch") == 1
    assert "requeue 4321" not in dry.calls("scontrol")
