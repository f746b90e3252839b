"""Ranks that can't start, or that do not come: told in a line, and nobody waits for long."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from unittest import mock

import torch

from tests.trials.case import Case, case, ugts
from ugts_dist.distributed import rendezvous


@case(r"^exit 2: ugts: device is cuda, but torch \S+ is built for CPUs only; .* `make install TORCH=cuda`$")
def cuda_without_its_build(folder: Path) -> str:
    """A GPU is asked for, of a torch for CPUs"""
    with mock.patch.object(torch.cuda, "device_count", return_value=0), mock.patch.object(torch.version, "cuda", None):
        return ugts("train", "--preset", "digits", "--run.device", "cuda", "--run.folder", folder / "run").told


@case(r"^exit 2: ugts: device is cuda, but torch \S+, built for CUDA 12\.8, finds no GPU: .* allowed is cpu$")
def cuda_without_a_gpu(folder: Path) -> str:
    """A GPU is asked for, where there is none"""
    with (
        mock.patch.object(torch.cuda, "device_count", return_value=0),
        mock.patch.object(torch.version, "cuda", "12.8"),
    ):
        return ugts("train", "--preset", "digits", "--run.device", "cuda", "--run.folder", folder / "run").told


def _variables(given: str, told: str) -> Case:
    def run(folder: Path) -> str:
        others = {name: value for name, value in os.environ.items() if not re.search("RANK|WORLD_SIZE|MASTER_", name)}
        variables = others | dict(each.split("=") for each in given.split())
        with mock.patch.dict(os.environ, variables, clear=True), mock.patch.object(rendezvous, "_NOTE_SECONDS", 0.0):
            return ugts("train", "--preset", "digits", "--run.timeout", "0.5", "--run.folder", folder / "run").told

    return Case("ranks", given, rf"^exit {told}", run)


CASES = [
    _variables(given, told)
    for given, told in {
        "RANK=0 WORLD_SIZE=2": r"2: ugts: MASTER_ADDR is not set, but RANK is '0'; allowed is ",
        "RANK=0 WORLD_SIZE=2 MASTER_ADDR=localhost": r"2: ugts: MASTER_PORT is not set, but RANK is '0'; allowed is ",
        "WORLD_SIZE=2": r"2: ugts: RANK is not set, but WORLD_SIZE is '2'; allowed is a whole number from 0 to 1 ",
        "RANK=1": r"2: ugts: WORLD_SIZE is not set, but RANK is '1'; allowed is a whole number from 1 ",
        "RANK=x WORLD_SIZE=2": r"2: ugts: RANK is 'x', allowed is a whole number from 0 to 1$",
        "RANK=2 WORLD_SIZE=2": r"2: ugts: RANK is '2', allowed is a whole number from 0 to 1$",
        "RANK=0 WORLD_SIZE=two": r"2: ugts: WORLD_SIZE is 'two', allowed is a whole number from 1$",
        "RANK=0 WORLD_SIZE=2 MASTER_ADDR=localhost MASTER_PORT=70000": (
            r"2: ugts: MASTER_PORT is '70000', allowed is a whole number from 1 to 65535$"
        ),
        "RANK=0 WORLD_SIZE=2 LOCAL_RANK=1 LOCAL_WORLD_SIZE=1 MASTER_ADDR=localhost MASTER_PORT=1": (
            r"2: ugts: LOCAL_RANK is '1', allowed is a whole number from 0 to 0$"
        ),
    }.items()
]


@case(
    r"^exit 1: ugts: waiting for 1 of 2 ranks at 127\.0\.0\.1:(\d+) ugts: rank 1 did not come to \S+:\1 within 0\.5 s$"
)
def a_peer_that_never_comes(folder: Path) -> str:
    """Rank 0 of 2, and rank 1 never comes"""
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    return _variables(f"RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT={port}", "").run(folder)
