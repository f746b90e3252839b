"""For all tests: one thread in each process, and how many examples Hypothesis tries."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

# In every process that a test starts, and in what is made for several tests. Two processes with two threads each on two
# cores are many times slower, and sum in another order.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)

# `make test` tries a few examples of each property, `make test-all` many.
settings.register_profile("fast", max_examples=20, deadline=None)
settings.register_profile("thorough", max_examples=100, deadline=None)
settings.load_profile("fast")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """For the next test too, where this one sets another number."""
    yield
    torch.set_num_threads(1)
