"""Versions, processor and memory of this machine. This module imports nothing heavy."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

import ugts_dist

_PACKAGES = (
    *("torch", "torch-geometric", "ogb", "numpy", "scipy", "pyarrow", "safetensors", "scikit-learn", "ray"),
    *("pyg-lib", "torch-sparse", "torch-scatter"),
)
ROOT = Path("/")
_NO_LIMIT = 1 << 60  # bytes; what version 1 of cgroups says instead of "max" is above


def versions() -> dict[str, str | None]:
    """Version of this program, Python and each package; None if it is not installed."""
    packages = {package: installed(package) for package in _PACKAGES}
    return {"ugts_dist": ugts_dist.__version__, "python": platform.python_version(), **packages}


def installed(package: str) -> str | None:
    """The version of an installed package, without importing it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def cpu(root: Path = ROOT) -> dict[str, Any]:
    """The processor, and the number of cores that this process can use."""
    lines = _read(root / "proc/cpuinfo").splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = min(_cpu_quotas(root), default=None)
    return {
        "model": next(names, platform.processor() or platform.machine()),
        "cores": os.cpu_count() or 1,
        "affinity": allowed,
        "cgroup_quota": quota,
        "usable": allowed if quota is None else max(1, min(allowed, math.floor(quota))),
    }


def memory(root: Path = ROOT) -> dict[str, int | None]:
    """Bytes in total and available, the limit of the cgroup (None: none), /dev/shm, and the limit of open files."""
    whole = psutil.virtual_memory()
    shared = psutil.disk_usage("/dev/shm") if os.path.isdir("/dev/shm") else None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return {
        "total": whole.total,
        "available": whole.available,
        "cgroup_limit": min(_memory_limits(root), default=None),
        "shm_size": shared.total if shared else None,
        "shm_free": shared.free if shared else None,
        "open_files": None if soft == resource.RLIM_INFINITY else soft,
    }


def huge_pages(root: Path = ROOT) -> dict[str, str | None]:
    """The chosen setting of transparent huge pages, for private memory and for shared memory."""
    folder = root / "sys/kernel/mm/transparent_hugepage"
    # The kernel puts it in brackets: `always [madvise] never`.
    chosen = {
        name: [word[1:-1] for word in _read(folder / file).split() if word.startswith("[")]
        for name, file in (("private", "enabled"), ("shared", "shmem_enabled"))
    }
    return {name: words[0] if words else None for name, words in chosen.items()}


def nvidia_driver(root: Path = ROOT) -> str | None:
    """Version of the loaded NVIDIA driver; None if there is none."""
    first = _read(root / "proc/driver/nvidia/version").partition("\n")[0]
    return next((word for word in first.split() if "." in word and word[0].isdigit()), None)


def _cpu_quotas(root: Path) -> Iterator[float]:
    """The number of cores in each cgroup that limits them."""
    for folder in _cgroups(root, "cpu"):
        text = _read(folder / "cpu.max")  # version 1 has two files
        words = (text or f"{_read(folder / 'cpu.cfs_quota_us')} {_read(folder / 'cpu.cfs_period_us')}").split()
        if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]) > 0:
            yield int(words[0]) / int(words[1])


def _memory_limits(root: Path) -> Iterator[int]:
    """The limit in bytes of each cgroup that has one."""
    for folder in _cgroups(root, "memory"):
        word = (_read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes")).strip()
        if word.isdigit() and int(word) < _NO_LIMIT:
            yield int(word)


def _cgroups(root: Path, controller: str) -> list[Path]:
    """The cgroup of this process, in both versions, then its parents; a container sees its own as the root."""
    mounted = root / "sys/fs/cgroup"
    folders = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        top = mounted if number == "0" and not controllers else mounted / controller
        if top == mounted or controller in controllers.split(","):
            own = Path(path.lstrip("/"))
            folders += [top / part for part in (own, *own.parents)]
    return [folder for folder in dict.fromkeys(folders) if folder.is_dir()]


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
