"""The doctor on machines, packages, folders and failures whose state is known."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.graphs.helpers import random_graph, snapshot, write_planetoid
from ugts_dist import supermask
from ugts_dist.cli import main
from ugts_dist.doctor import checks, machine, report
from ugts_dist.doctor.isolated import Check, run
from ugts_dist.errors import InputError
from ugts_dist.graphs import catalogue, kernels, store_check
from ugts_dist.graphs.store_writer import write_store


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of the user's own in the environment; an empty working folder."""
    for variable in ("UGTS_DATA", "UGTS_STORES"):
        monkeypatch.delenv(variable, raising=False)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(folder)
    return folder


# Checks in child processes


CHECKS = """
import os, time
from pathlib import Path
from ugts_dist.errors import InputError

def refuse():
    raise InputError("x is 1, allowed is 2")

def hang_with_a_child(path):
    Path(path).write_text(str(os.getpid()))
    if os.fork() == 0:
        Path(f"{path}.child").write_text(str(os.getpid()))
    time.sleep(60)
"""


def alive(path: Path) -> bool:
    """Whether the process whose id the file holds still runs; one that has ended may wait to be collected."""
    try:
        return Path(f"/proc/{path.read_text()}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return not path.exists()


def test_every_way_to_fail_is_told_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some_checks.py").write_text(CHECKS)
    monkeypatch.syspath_prepend(tmp_path)
    some_checks = importlib.import_module("some_checks")
    told = run(
        [
            ("returns", partial(str, 3)),
            ("aborts", os.abort),
            ("exits", partial(os._exit, 3)),
            ("raises", partial(str, b"x", "no encoding")),
            ("refuses", some_checks.refuse),
            ("hangs", partial(some_checks.hang_with_a_child, str(tmp_path / "pid"))),
            ("returns again", partial(str, 4)),
        ],
        timeout=2,
    )
    assert [(check.name, check.ok, check.text) for check in told] == [
        ("returns", True, "3"),
        ("aborts", False, "killed by SIGABRT"),
        ("exits", False, "ended with code 3"),
        ("raises", False, "LookupError: unknown encoding: no encoding"),
        ("refuses", False, "x is 1, allowed is 2"),
        ("hangs", False, "no answer within 2 s"),
        ("returns again", True, "4"),
    ]
    for name in ("pid", "pid.child"):
        deadline = time.monotonic() + 5.0  # a process that is killed takes a moment to go
        while alive(tmp_path / name) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not alive(tmp_path / name)


def test_nothing_is_run_after_the_first_check_failed() -> None:
    first, second = run([("first", os.abort), ("second", partial(str, 4))], timeout=20)
    assert first.text == "killed by SIGABRT"
    assert (second.ok, second.text) == (False, "not run, because first failed")


def test_a_check_is_no_rank_and_writes_outside_the_working_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    rank, folder = run([("rank", partial(os.path.expandvars, "$RANK")), ("folder", os.getcwd)], timeout=20)
    assert rank.text == "$RANK"
    assert not Path(folder.text).is_relative_to(home)


# The machine


def write_files(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_limits_of_the_second_version_of_cgroups_are_found_in_every_parent(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "proc/self/cgroup": "0::/pod/container\n",
            "sys/fs/cgroup/pod/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/pod/container/cpu.max": "max 100000\n",
            "sys/fs/cgroup/pod/memory.max": "4096\n",
            "sys/fs/cgroup/pod/container/memory.max": "8192\n",
        },
    )
    facts = machine.facts(tmp_path)
    assert facts["cores by cgroup"] == 1.5
    assert facts["usable cores"] == 1
    assert facts["memory by cgroup"] == 4096
    assert str(facts["memory by cgroup"]) == "4.0 KiB"


def test_limits_of_the_first_version_of_cgroups_are_found(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "proc/self/cgroup": "5:cpu,cpuacct:/job\n4:memory:/job\n",
            "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "1024\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2**63 - 4096}\n",
        },
    )
    facts = machine.facts(tmp_path)
    assert facts["cores by cgroup"] == 0.5
    assert facts["memory by cgroup"] == 1024


def test_kernel_files_are_read_as_they_are_written(tmp_path: Path) -> None:
    version = (
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC version: 12\n"
    )
    write_files(
        tmp_path,
        {
            "proc/cpuinfo": "processor\t: 0\nmodel name\t: A CPU @ 2: GHz\n",
            "proc/driver/nvidia/version": version,
            "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
        },
    )
    facts: dict[str, Any] = machine.facts(tmp_path)
    assert facts["memory"] == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < facts["available memory"] <= facts["memory"]
    assert facts["CPU"] == "A CPU @ 2: GHz"
    assert facts["NVIDIA driver"] == "550.54.15"
    assert facts["huge pages"] == "madvise"
    assert facts["huge pages of shared memory"] is None


def test_a_machine_that_tells_nothing_is_no_failure(tmp_path: Path) -> None:
    facts = machine.facts(tmp_path)
    assert facts["memory by cgroup"] is None
    assert facts["cores by cgroup"] is None
    assert facts["NVIDIA driver"] is None


def test_torch_is_described_as_it_describes_itself() -> None:
    text, rows = checks.torch_build()
    assert text.startswith(f"{torch.__version__}, built for ")
    assert sum(row.name.startswith("cuda:") for row in rows) == torch.cuda.device_count()
    assert any(row.name == "GPU" and "none usable" in row.text for row in rows) == (not torch.cuda.is_available())


# Data


def test_raw_files_are_found_complete_and_incomplete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    monkeypatch.setenv("UGTS_DATA", "second")
    write_planetoid(first / "planetoid/Cora/raw", "cora")
    write_planetoid(second / "planetoid/Cora/raw", "cora")
    (second / "planetoid/Cora/raw/ind.cora.graph").unlink()
    text, rows = checks.datasets("first", str(tmp_path))
    assert text.startswith(f"{first}, {second}, ")
    assert {row.name for row in rows} == set(catalogue.NAMES)
    assert [(row.ok, row.text) for row in rows if row.name == "cora"] == [
        (True, str(first / "planetoid/Cora/raw")),
        (False, f"{second / 'planetoid/Cora/raw'}, incomplete: ind.cora.graph missing"),
    ]
    assert catalogue.load("cora", first).num_nodes  # what is called complete can be loaded
    with pytest.raises(InputError, match=r"ind\.cora\.graph"):
        catalogue.load("cora", second)
    assert {(row.ok, row.text) for row in rows if row.name != "cora"} == {(False, "not found"), (True, "embedded")}


def test_stores_are_opened_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    graph = random_graph(60, 200)
    for name in ("good", "bad"):
        write_store(graph, tmp_path / name)
    (tmp_path / "bad" / "x.npy").unlink()
    (tmp_path / "no store").mkdir()
    text, (bad, good) = checks.stores(str(tmp_path), "/")
    assert text == str(tmp_path)
    assert (bad.name, bad.ok) == ("bad", False)
    assert "does not open: " in bad.text
    assert "x.npy" in bad.text
    assert (good.name, good.ok) == ("good", True)
    assert good.text.startswith(f"60 nodes, {graph.num_edges} edges, {graph.num_features} features, ")
    assert f" {graph.num_classes} classes, " in good.text
    numbers = torch.stack([graph.y, graph.y + 0.5], 1).float()
    write_store(replace(graph, y=numbers, num_classes=2), tmp_path / "numbers")
    assert " features, 2 labels or targets, " in checks.stores(str(tmp_path), "/")[1][2].text
    text, rows = checks.stores("nowhere", str(tmp_path))
    assert (text, rows) == (f"none in {tmp_path / 'nowhere'}; `ugts prepare` makes them", ())


def test_a_large_store_that_no_run_has_checked_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_store(random_graph(60, 200), tmp_path / "large")
    values = np.load(tmp_path / "large/indptr.npy", mmap_mode="r+")
    values[10] = 10**12
    values.flush()

    def large() -> Check:
        _, (row,) = checks.stores(str(tmp_path), "/")
        return row

    assert "indptr.npy: has a decrease after node 10" in large().text
    monkeypatch.setattr(checks, "_READ_BYTES", 1000)
    assert large().ok
    monkeypatch.setattr(store_check, "is_checked", lambda folder: True)
    assert "indptr.npy" in large().text


# Back ends


def write_package(root: Path, name: str, text: str) -> None:
    module = name.replace("-", "_")
    write_files(
        root,
        {
            f"{module}.py": text,
            f"{module}-0.0.1.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.0.1\n",
        },
    )


def test_our_own_sampler_works() -> None:
    assert checks.sampler("ours") == "works"


def test_a_back_end_that_does_not_load_is_told_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One raises like a library built for another torch, the other kills the process that imports it."""
    linker = "OSError('libpyg.so: undefined symbol: _ZN3c10\\nand more')"
    write_package(tmp_path, "pyg-lib", f"raise OSError('Could not load this library') from {linker}")
    write_package(tmp_path, "torch-sparse", "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.syspath_prepend(tmp_path)
    details = {name: report.examine_package(name, timeout=60).text for name in report.PACKAGES}
    told = f"pyg-lib 0.0.1 with torch {torch.__version__} does not load: OSError: libpyg.so: undef"
    assert details["pyg-lib"].startswith(told)
    assert "more" not in details["pyg-lib"]
    version = machine.installed("torch")  # of the package, which may leave the build out
    assert details["torch-sparse"] == f"torch-sparse 0.0.1 with torch {version} does not load: killed by SIGSEGV"


# The self-test


def test_the_weights_are_those_of_the_first_ticket() -> None:
    """The tests of the weights compare those of each initialisation with the first ticket's."""
    assert checks.weights() == "5 initialisations have their fingerprint"


def test_a_threshold_that_is_off_by_one_place_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = supermask.kth_smallest
    monkeypatch.setattr(supermask, "kth_smallest", lambda groups, ranks: exact(groups, [max(ranks[0] - 1, 0)]))
    with pytest.raises(AssertionError, match="by a sort"):
        checks.threshold()


def test_weights_of_another_stream_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np.random, "Philox", np.random.PCG64)
    with pytest.raises((AssertionError, TypeError)):
        checks.weights()


def test_samples_that_differ_between_devices_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    from ugts_dist.graphs import sampling

    assert checks.same_samples("cpu")
    seeds = iter([1, 2])
    exact = sampling.NeighborSampler.__init__
    monkeypatch.setattr(
        sampling.NeighborSampler,
        "__init__",
        lambda self, indptr, indices, fan_out, seed: exact(self, indptr, indices, fan_out, next(seeds)),
    )
    with pytest.raises(AssertionError, match="another subgraph"):
        checks.same_samples("cpu")


def test_the_checks_of_a_gpu_hold_on_the_cpu() -> None:
    training, samples = run(report.on_device("cpu"), timeout=60)
    assert (training.ok, training.name) == (True, "training on cpu")
    assert (samples.ok, samples.text) == (True, "5 steps draw the same subgraphs as on the CPU")


# The command


def doctor(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str]:
    code = 0
    try:
        main(["doctor", *args])
    except SystemExit as stop:
        code = int(str(stop.code))
    return code, capsys.readouterr().out


def test_the_whole_examination_holds_and_writes_nothing(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_planetoid(tmp_path / "data/planetoid/Cora/raw", "cora")
    write_store(random_graph(60, 200), tmp_path / "stores/mine")
    monkeypatch.setenv("UGTS_DATA", str(tmp_path / "data"))
    before = snapshot(tmp_path)
    code, shown = doctor(capsys, "--json", "--stores", str(tmp_path / "stores"))
    assert snapshot(tmp_path) == before
    told: dict[str, Any] = json.loads(shown)
    assert [check for check in told["self_test"] if not check["ok"]] == []
    assert (code, told["ok"]) == (0, True)
    assert {check["name"] for check in told["self_test"]} >= {"imports", "training on cpu", "weights as ever"}
    assert told["versions"]["torch"] == importlib.metadata.version("torch")
    assert told["machine"]["cores"] == os.cpu_count()
    datasets, stores = told["data"]
    assert [store["name"] for store in stores["rows"]] == ["mine"]
    assert [row["name"] for row in datasets["rows"] if row["ok"]] == ["cora", "digits"]
    assert {check["name"] for check in told["backends"]} == {"ours", "pyg-lib", "torch-sparse"}


def test_what_takes_too_long_has_failed(capsys: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    code, shown = doctor(capsys, "--timeout", "0.01")
    assert code == 1
    assert "no answer within 0.01 s" in shown
    assert "does not work" in shown
    assert time.monotonic() - started < 60


@pytest.mark.parametrize("option", ["--root", "--stores"])
def test_a_folder_that_is_not_there_is_a_mistake(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["doctor", option, "nowhere"])
    assert stop.value.code == 2
    assert f"{option} is nowhere, allowed is a folder" in capsys.readouterr().err


def test_no_time_at_all_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["doctor", "--timeout", "0"])
    assert stop.value.code == 2
    assert "--timeout is 0.0, allowed is above 0" in capsys.readouterr().err


def test_names_that_are_written_twice_agree() -> None:
    assert set(report.PACKAGES) == set(kernels.BACKENDS)
