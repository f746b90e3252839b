"""The random factors of dropout, as one operation: a GPU starts one kernel for it, and a recorded step repeats it.

The number of the step is a tensor, since a recorded step reads all that differs between steps from its device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ugts_dist import hashing
from ugts_dist.gpu_kernels import launch, problem_on
from ugts_dist.operators import operator

_DOMAIN = 0x44524F50  # separates these hashes from those of seeds and neighbours
_PER_WORD = 4  # draws of 16 bits per hash of 64


@operator("dropout_factors(Tensor ids, Tensor step, int seed, int layer, int width, float p) -> Tensor")
def dropout_factors(ids: Tensor, step: Tensor, seed: int, layer: int, width: int, p: float) -> Tensor:
    """0 for dropped features and 1 / (1 - p) for the others: float32 `[num_rows, width]`.

    Args:
        ids: what each row's noise depends on, besides the step: ids of nodes, int64 `[num_rows]`.
        step: number of the step, an int64 scalar on the same device.
        seed: of the run.
        layer: whose input is dropped.
        p: probability of 0, exact to 2^-17.
    """
    if ids.is_cuda and not problem_on(ids.device):
        return factors_of_triton(ids, step, seed, layer, width, p)
    return factors_of_torch(ids, step, seed, layer, width, p)


def factors_of_torch(ids: Tensor, step: Tensor, seed: int, layer: int, width: int, p: float) -> Tensor:
    """`dropout_factors` in operations of torch, on any device, without waiting for it."""
    words = -(-width // _PER_WORD)
    counter = ids[:, None] * words + torch.arange(words, device=ids.device)
    bits = hashing.stream(_key(step, seed, layer), counter)
    kept = bits.view(torch.int16) >= least_kept(p)  # four independent decisions per 64 bits
    return kept[:, :width] * (1.0 / (1.0 - p))


def factors_of_triton(ids: Tensor, step: Tensor, seed: int, layer: int, width: int, p: float) -> Tensor:
    """`dropout_factors` by one kernel."""
    from ugts_dist.models.noise_kernels import draw_factors

    factors = torch.empty(ids.numel(), width, device=ids.device)
    numbers = (hashing.key(_DOMAIN, seed), layer, ids.numel(), width, least_kept(p), 1.0 / (1.0 - p))
    size = ids.numel() * -(-width // _PER_WORD)
    launch(draw_factors, size, ids.contiguous(), step, factors, *numbers, PER_WORD=_PER_WORD)
    return factors


def least_kept(p: float) -> int:
    """The smallest of the 2^16 values of a draw, an int16, for which a feature stays."""
    return min(round(p * 2**16), 2**16 - 1) - 2**15


def _key(step: Tensor, seed: int, layer: int) -> int | Tensor:
    if step.device.type == "cpu":
        return hashing.key(_DOMAIN, seed, int(step), layer)
    return hashing.key_of(hashing.key_of(hashing.key(_DOMAIN, seed), step), layer)
