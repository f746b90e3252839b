"""For all tests: one thread in each process, and how many examples Hypothesis tries."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

from ugts_dist.terminal import log_to_stderr

# In every process that a test starts, and in what is made for several tests. Two processes with two threads each on two
# cores are many times slower, and sum in another order.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)

# A shell that runs the tests in the background ignores Ctrl-C for them; some tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

# `make test` tries a few examples of each property, `make test-all` many.
settings.register_profile("fast", max_examples=20, deadline=None)
settings.register_profile("thorough", max_examples=100, deadline=None)
settings.load_profile("fast")


log_to_stderr()  # as the command line does


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests that need a GPU where there is none."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a GPU"))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Restore one thread for the next test, in case this one sets another number."""
    yield
    torch.set_num_threads(1)
