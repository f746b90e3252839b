from __future__ import annotations

from pathlib import Path

import pytest

from ugts_dist.checkpointing.network_files import network_file
from ugts_dist.errors import InputError


def test_what_a_folder_has(tmp_path: Path) -> None:
    assert network_file(tmp_path / "none", "x") == tmp_path / "none"
    with pytest.raises(InputError, match="no x or y in this folder"):
        network_file(tmp_path, "x", "y")
    (tmp_path / "y").touch()
    assert network_file(tmp_path, "x", "y") == tmp_path / "y"
    (tmp_path / "x").touch()
    assert network_file(tmp_path, "x", "y") == tmp_path / "x"


def test_without_names_it_is_a_ticket_or_a_dense_network(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no best\.ticket or best\.safetensors in this folder"):
        network_file(tmp_path)
    (tmp_path / "best.safetensors").touch()
    assert network_file(tmp_path) == tmp_path / "best.safetensors"
