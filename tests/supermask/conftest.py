from __future__ import annotations

import sys

import pytest
import torch


@pytest.fixture(autouse=True)
def compiled_code_is_forgotten() -> None:
    """Models that other tests of this process compiled must not count towards torch's limit of recompilations."""
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()
