from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.alone import needs_triton, run_alone
from ugts_dist import hashing
from ugts_dist.models.noise import dropout_factors, factors_of_triton

HERE = Path(__file__).parent


def test_factors_are_drawn_by_the_hash_of_seed_step_layer_and_word() -> None:
    ids, seed, step, layer, width, p = [7, 0, 2**40], -5, 11, 1 << 32, 6, 0.25
    factors = dropout_factors(torch.tensor(ids), torch.tensor(step), seed, layer, width, p)
    key = hashing.key(0x44524F50, seed, step, layer)
    for row, node in enumerate(ids):
        for column in range(width):
            counter = (node * 2 + column // 4 + 2**63) % 2**64 - 2**63
            bits = int(hashing.stream(key, torch.tensor(counter))) % 2**64
            draw = bits >> 16 * (column % 4) & 0xFFFF
            draw -= 2**16 * (draw >= 2**15)  # the draws are signed
            assert factors[row, column].item() == (torch.tensor(1 / 0.75).item() if draw >= -(2**14) else 0.0)


@needs_triton
def test_the_kernel_in_the_interpreter() -> None:
    run_alone(HERE / "interpreted_noise.py", {"TRITON_INTERPRET": "1"})


@needs_triton
def test_the_kernel_is_compiled(tmp_path: Path) -> None:
    run_alone(HERE / "compiled_noise.py", {"TRITON_CACHE_DIR": str(tmp_path)})


@pytest.mark.gpu
def test_the_kernel_draws_the_bits_of_the_cpu() -> None:
    ids, step = torch.arange(5000), torch.tensor(3)
    expected = dropout_factors(ids, step, 1, 2, 37, 0.3)
    for draw in (dropout_factors, factors_of_triton):
        assert torch.equal(draw(ids.cuda(), step.cuda(), 1, 2, 37, 0.3).cpu(), expected)
