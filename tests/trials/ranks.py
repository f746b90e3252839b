"""Ranks that can't start, or that do not come: told in a line, and nobody waits for long."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import torch

from tests.trials.case import case, ugts


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
