from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.faults.kills import Reference, reference


@pytest.fixture(scope="session")
def one_thread_each() -> Iterator[None]:
    """The environment of every process that a test starts."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    yield
    if before is None:
        del os.environ["OMP_NUM_THREADS"]
    else:
        os.environ["OMP_NUM_THREADS"] = before


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory, one_thread_each: None) -> Reference:
    """The tiny run on two ranks, without interruption."""
    return reference(tmp_path_factory.mktemp("reference"))
