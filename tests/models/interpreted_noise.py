"""The kernel of dropout in Triton's interpreter, on a CPU. `test_noise` runs this file by itself."""

from __future__ import annotations

import os

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ugts_dist.models.noise import factors_of_torch, factors_of_triton

assert os.environ["TRITON_INTERPRET"] == "1"

INT64 = st.integers(-(2**63), 2**63 - 1)


@settings(derandomize=True, max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, 2**40), max_size=9),
    st.integers(0, 2**40),
    INT64,
    st.integers(0, 2**33),
    st.integers(1, 21),
    st.floats(0.01, 0.9999999),
)
def test_factors_are_those_of_torch(ids: list[int], step: int, seed: int, layer: int, width: int, p: float) -> None:
    arguments = torch.tensor(ids, dtype=torch.int64), torch.tensor(step), seed, layer, width, p
    assert torch.equal(factors_of_triton(*arguments), factors_of_torch(*arguments))


def test_factors_of_several_programs() -> None:
    arguments = torch.arange(3000), torch.tensor(3), 1, 2, 5, 0.3
    assert torch.equal(factors_of_triton(*arguments), factors_of_torch(*arguments))
