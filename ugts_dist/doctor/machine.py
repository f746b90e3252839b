"""Versions, devices and memory of this machine. Nothing heavy is imported here but by `torch_build`, a probe."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import resource
from pathlib import Path
from typing import Any

import ugts_dist

_PACKAGES = (
    "torch",
    "torch-geometric",
    "ogb",
    "numpy",
    "scipy",
    "pyarrow",
    "safetensors",
    "scikit-learn",
    "ray",
    "pyg-lib",
    "torch-sparse",
    "torch-scatter",
)
ROOT = Path("/")
_NO_LIMIT = 1 << 60  # bytes; what version 1 of cgroups says instead of "max" is above


def versions() -> dict[str, str | None]:
    """Version of this program, Python and each package; None where it is not installed."""
    return {
        "ugts_dist": ugts_dist.__version__,
        "python": platform.python_version(),
        **{package: installed(package) for package in _PACKAGES},
    }


def installed(package: str) -> str | None:
    """The version of an installed package, without importing it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def cpu(root: Path = ROOT) -> dict[str, Any]:
    """The processor, and how many cores of it this process may use."""
    text = _read(root / "proc/cpuinfo")
    names = (line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name"))
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cpu_quota(root)
    return {
        "model": next(names, platform.processor() or platform.machine()),
        "cores": os.cpu_count() or 1,
        "affinity": allowed,
        "cgroup_quota": quota,
        "usable": allowed if quota is None else max(1, min(allowed, math.floor(quota))),
    }


def memory(root: Path = ROOT) -> dict[str, int | None]:
    """Bytes in total and available, the limit of the cgroup (None: none), /dev/shm, and how many files may be open."""
    lines = (line.split() for line in _read(root / "proc/meminfo").splitlines())
    kilobytes = {words[0].rstrip(":"): int(words[1]) for words in lines if len(words) >= 2}
    shared = os.statvfs("/dev/shm") if os.path.isdir("/dev/shm") else None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return {
        "total": kilobytes["MemTotal"] * 1024 if "MemTotal" in kilobytes else None,
        "available": kilobytes["MemAvailable"] * 1024 if "MemAvailable" in kilobytes else None,
        "cgroup_limit": _memory_limit(root),
        "shm_size": shared.f_blocks * shared.f_frsize if shared else None,
        "shm_free": shared.f_bavail * shared.f_frsize if shared else None,
        "open_files": None if soft == resource.RLIM_INFINITY else soft,
    }


def huge_pages(root: Path = ROOT) -> dict[str, str | None]:
    """The chosen setting of transparent huge pages, for private memory and for shared memory."""
    folder = root / "sys/kernel/mm/transparent_hugepage"
    return {"private": _chosen(folder / "enabled"), "shared": _chosen(folder / "shmem_enabled")}


def nvidia_driver(root: Path = ROOT) -> str | None:
    """Version of the loaded NVIDIA driver, None where there is none."""
    first = _read(root / "proc/driver/nvidia/version").partition("\n")[0]
    return next((word for word in first.split() if word.count(".") >= 1 and word[0].isdigit()), None)


def torch_build() -> dict[str, Any]:
    """A probe: how torch was built, which back ends of torch.distributed it has, and the GPUs that it can use.

    Memory is in bytes. `gpu_problem` says why a build for CUDA finds none.
    """
    import torch
    import torch.distributed as dist

    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "hip": torch.version.hip,
        "gloo": dist.is_available() and dist.is_gloo_available(),
        "nccl": _nccl_version(torch) if dist.is_available() and dist.is_nccl_available() else None,
        "gpus": [_gpu(torch, index) for index in range(torch.cuda.device_count())],
        "gpu_problem": _gpu_problem(torch),
    }


def _gpu(torch: Any, index: int) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(index)
    free, total = torch.cuda.mem_get_info(index)
    capability = f"{properties.major}.{properties.minor}"
    return {"name": properties.name, "capability": capability, "memory_free": free, "memory_total": total}


def _gpu_problem(torch: Any) -> str:
    if torch.cuda.is_available():
        return ""
    if torch.version.cuda is None and torch.version.hip is None:
        return "torch is built for the CPU only"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return str(error).strip().partition("\n")[0]
    return "torch finds none"


def _nccl_version(torch: Any) -> str:
    return ".".join(map(str, torch.cuda.nccl.version()))


def _cpu_quota(root: Path) -> float | None:
    """The fewest cores that one of the cgroups grants, None where none sets a limit."""
    quotas = []
    for folder in _cgroups(root, "cpu"):
        words = _read(folder / "cpu.max").split() or [
            _read(folder / "cpu.cfs_quota_us").strip(),
            _read(folder / "cpu.cfs_period_us").strip(),
        ]
        if all(word.isdigit() for word in words) and int(words[1]) > 0:
            quotas.append(int(words[0]) / int(words[1]))
    return min(quotas, default=None)


def _memory_limit(root: Path) -> int | None:
    """The smallest limit in bytes among the cgroups that this process is in."""
    limits = []
    for folder in _cgroups(root, "memory"):
        word = (_read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes")).strip()
        if word.isdigit() and int(word) < _NO_LIMIT:
            limits.append(int(word))
    return min(limits, default=None)


def _cgroups(root: Path, controller: str) -> list[Path]:
    """The cgroup of this process, in both versions, then the ones above it; a container sees its own as the root."""
    mounted = root / "sys/fs/cgroup"
    folders = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        top = mounted if number == "0" and not controllers else mounted / controller
        if top == mounted or controller in controllers.split(","):
            own = Path(path.lstrip("/"))
            folders += [top / part for part in (own, *own.parents)]
    return [folder for folder in dict.fromkeys(folders) if folder.is_dir()]


def _chosen(path: Path) -> str | None:
    """The word in brackets: `always [madvise] never`."""
    return next((word[1:-1] for word in _read(path).split() if word.startswith("[")), None)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
