"""Memory that a process may still use."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from ugts_dist.available_memory import available_memory, cgroup_memory

GIB = 1 << 30


def machine(root: Path, group: str, files: dict[str, str]) -> Path:
    """A root folder with the cgroups of this process."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(group)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("group", "files"),
    [
        (
            "0::/a/b\n",
            {"a/memory.max": f"{GIB}\n", "a/memory.stat": "anon 1000\nfile 9999\n", "a/b/memory.max": "max\n"},
        ),
        (
            "5:cpu:/\n4:memory:/a\n",
            {
                "memory/a/memory.limit_in_bytes": str(GIB),
                "memory/a/memory.stat": "rss 7\ntotal_cache 5000\ntotal_rss 1000\n",
                "memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
        ),
    ],
    ids=["version 2", "version 1"],
)
def test_the_limit_of_a_cgroup_counts_without_copies_of_files(
    tmp_path: Path, group: str, files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = machine(tmp_path, group, files)
    assert list(cgroup_memory(root)) == [(GIB, 1000)]
    memory = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=100 * GIB))
    assert available_memory(root) == GIB - 1000
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=500))
    assert available_memory(root) == 500


def test_a_full_cgroup_has_none_left(tmp_path: Path) -> None:
    files = {"memory.max": "1000", "memory.stat": "anon 1200\n"}
    assert available_memory(machine(tmp_path, "0::/\n", files)) == 0


def test_without_cgroups_it_is_the_machines(tmp_path: Path) -> None:
    assert list(cgroup_memory(tmp_path)) == []
    assert available_memory(tmp_path) > 0
