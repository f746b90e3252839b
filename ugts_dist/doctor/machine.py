"""Facts about this machine as names and values. This module imports nothing heavy."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import resource
from collections.abc import Iterator
from pathlib import Path

import psutil
from rich.filesize import pick_unit_and_suffix

import ugts_dist
from ugts_dist.available_memory import cgroup_memory, cgroups, text_of

Facts = dict[str, str | float | None]

_PACKAGES = (
    *("torch", "torch-geometric", "ogb", "numpy", "scipy", "pyarrow", "safetensors", "scikit-learn", "ray"),
    *("pyg-lib", "torch-sparse", "torch-scatter"),
)
_FEW_OPEN_FILES = 1024


class Size(int):
    """Bytes: a number in JSON, a text with a unit in tables."""

    def __str__(self) -> str:
        unit, name = pick_unit_and_suffix(int(self), ["B", "KiB", "MiB", "GiB"], 1024)
        return f"{self / unit:.1f} {name}"


class OpenFiles(int):
    """A limit: a number in JSON, in tables with a remark if it is low."""

    def __str__(self) -> str:
        return f"{int(self)}{' (few for many workers: see ulimit -n)' if self <= _FEW_OPEN_FILES else ''}"


def installed(package: str) -> str | None:
    """The version of an installed package, without importing it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions() -> Facts:
    """Version of this program, Python and each package; None if it is not installed."""
    packages = {package: installed(package) for package in _PACKAGES}
    return {"ugts_dist": ugts_dist.__version__, "python": platform.python_version(), **packages}


def facts(root: Path = Path("/")) -> Facts:
    """Processor, driver, memory, and limits of this process; None where there is no such thing or no limit."""
    cores = os.cpu_count() or 1
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    times = (re.match(r"(\d+)\s+(\d+)\s*$", text) for text in _cgroup_files(root))
    quota = min((int(time[1]) / int(time[2]) for time in times if time), default=None)
    model = _match(r"model name\s*:(.*)", root / "proc/cpuinfo")
    shared = psutil.disk_usage("/dev/shm") if os.path.isdir("/dev/shm") else None
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    pages = root / "sys/kernel/mm/transparent_hugepage"  # "always [madvise] never"
    return {
        "CPU": platform.processor() or platform.machine() if model is None else model,
        "cores": cores,
        "cores by affinity": affinity,
        "cores by cgroup": quota,
        "usable cores": affinity if quota is None else max(1, min(affinity, int(quota))),
        # "NVRM version: ... Kernel Module 550.54.15 ..."
        "NVIDIA driver": _match(r"\s(\d\S*\.\S*)", root / "proc/driver/nvidia/version"),
        "memory": Size(psutil.virtual_memory().total),
        "available memory": Size(psutil.virtual_memory().available),
        "memory by cgroup": min((Size(limit) for limit, _ in cgroup_memory(root)), default=None),
        "/dev/shm": Size(shared.total) if shared else None,
        "free in /dev/shm": Size(shared.free) if shared else None,
        "limit of open files": None if files == resource.RLIM_INFINITY else OpenFiles(files),
        "huge pages": _match(r"\[(\S+)\]", pages / "enabled"),
        "huge pages of shared memory": _match(r"\[(\S+)\]", pages / "shmem_enabled"),
    }


def _cgroup_files(root: Path) -> Iterator[str]:
    """The limits of processor time of each cgroup of this process."""
    for folder in cgroups(root, "cpu"):
        yield "".join(text_of(folder / file) for file in ("cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us"))


def _match(pattern: str, path: Path) -> str | None:
    """The first match of the pattern's group in a file, if any."""
    match = re.search(pattern, text_of(path))
    return match[1].strip() if match else None
