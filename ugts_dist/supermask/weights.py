"""Reproducible random weights: a pure function of (seed, role, parameter name), the same on every machine.

The bits are numpy's Philox raw stream, which numpy guarantees never to change. They become floats by additions,
multiplications, divisions, square roots and exact exponent splits in float64 only. IEEE 754 rounds all of these the
same way everywhere, so that no math library can change a weight.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Init = Literal["kaiming-uniform", "kaiming-normal", "signed-constant", "balanced", "uniform"]
Float64 = npt.NDArray[np.float64]
DIGITS = 16  # of a ticket's fingerprint
_CHUNK = 1 << 20  # weights; bounds the additional memory of drawing them


def fan_in(shape: torch.Size | tuple[int, ...]) -> int:
    """Inputs per output: the product of all axes but the first ([out, in] weights; attention [1, H, C]: H * C)."""
    return math.prod(shape[1:])


def random_bits(seed: int, role: str, name: str) -> np.random.Philox:
    """The stream of random bits of (seed, role, name)."""
    digest = hashlib.sha256(f"{seed}/{role}/{name}".encode()).digest()
    return np.random.Philox(key=int.from_bytes(digest[:16], "little"))


def random_tensor(seed: int, role: str, name: str, shape: torch.Size | tuple[int, ...], init: Init) -> Tensor:
    """A float32 tensor of `shape`, drawn for (seed, role, name).

    Scales (fan-in, gain sqrt 2; He et al. 2015): kaiming-uniform U(+-sqrt(6 / fan_in)), kaiming-normal
    N(0, 2 / fan_in), signed-constant +-sqrt(2 / fan_in). `uniform` is U(-1, 1) for every shape.

    `balanced` is signed-constant with as many positive as negative weights for each output (one more positive if their
    number is odd). Any offset that all inputs share, as the outputs of ReLU do, cancels, so that deep layers still
    distinguish nodes (the idea of centred weight normalisation, Huang et al. 2017).
    """
    bits = random_bits(seed, role, name)
    values = np.empty(math.prod(shape), np.float32)
    inputs = fan_in(shape)
    # Balanced weights are drawn in chunks of whole outputs.
    step = max(1, _CHUNK // inputs) * inputs if init == "balanced" else _CHUNK
    for first in range(0, values.size, step):
        chunk = values[first : first + step]
        unit = ((bits.random_raw(chunk.size) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53  # never 0 or 1
        chunk[:] = _distributed(unit, inputs, init)
    return torch.from_numpy(values.reshape(tuple(shape)))


def _distributed(unit: Float64, inputs: int, init: Init) -> Float64:
    """Map uniform numbers in (0, 1) to a distribution; `inputs` is the number of inputs per output."""
    deviation = math.sqrt(2.0 / inputs)
    match init:
        case "kaiming-uniform":
            return (2.0 * unit - 1.0) * (math.sqrt(3.0) * deviation)
        case "kaiming-normal":
            return normal_quantile(unit) * deviation
        case "signed-constant":
            return np.where(unit < 0.5, -deviation, deviation)
        case "balanced":
            order = unit.reshape(-1, inputs).argsort(1, kind="stable").argsort(1)
            return np.where(order < inputs // 2, -deviation, deviation).reshape(-1)
        case "uniform":
            return 2.0 * unit - 1.0
        case _:
            raise ValueError(f"unknown initialisation {init!r}")


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes and float32 bytes of the weights, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        weight = weights[name].detach().to("cpu", torch.float32).contiguous()
        digest.update(f"{name}{tuple(weight.shape)}".encode())
        digest.update(weight.numpy().astype("<f4", copy=False).tobytes())
    return digest.hexdigest()


def brief(digest: str) -> str:
    """The digits of a fingerprint that a ticket stores: different weights have the same ones once in 2^64 cases."""
    return digest[:DIGITS]


def has_fingerprint(weights: Mapping[str, Tensor], digits: str) -> bool:
    """Whether `digits` is the weights' fingerprint, or its first digits."""
    return len(digits) >= DIGITS and fingerprint(weights).startswith(digits)


def normal_quantile(p: Float64) -> Float64:
    """Inverse of the standard normal distribution function on (0, 1), with a relative error below 1.2e-9.

    Acklam's rational approximation (2003), with our own logarithm so that every bit is reproducible.
    """
    tail = np.minimum(p, 1.0 - p)
    q = p - 0.5
    r = q * q
    centre = (
        q
        * _polynomial(
            r,
            -3.969683028665376e01,
            2.209460984245205e02,
            -2.759285104469687e02,
            1.383577518672690e02,
            -3.066479806614716e01,
            2.506628277459239e00,
        )
        / _polynomial(
            r,
            -5.447609879822406e01,
            1.615858368580409e02,
            -1.556989798598866e02,
            6.680131188771972e01,
            -1.328068155288572e01,
            1.0,
        )
    )
    t = np.sqrt(-2.0 * _log(tail))
    outer = _polynomial(
        t,
        -7.784894002430293e-03,
        -3.223964580411365e-01,
        -2.400758277161838e00,
        -2.549732539343734e00,
        4.374664141464968e00,
        2.938163982698783e00,
    ) / _polynomial(t, 7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e00, 3.754408661907416e00, 1.0)
    return np.where(tail < 0.02425, np.where(q < 0, outer, -outer), centre)


def _polynomial(x: Float64, *coefficients: float) -> Float64:
    value = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return value


def _log(x: Float64) -> Float64:
    """Natural logarithm: exact split into mantissa and exponent, then the series of 2 artanh(f)."""
    mantissa, exponent = np.frexp(x)
    low = mantissa < math.sqrt(0.5)
    mantissa = np.where(low, mantissa * 2.0, mantissa)
    exponent = np.where(low, exponent - 1, exponent)
    f = (mantissa - 1.0) / (mantissa + 1.0)  # |f| <= 0.172, so f^21 is below the last bit
    series = _polynomial(f * f, *(1.0 / k for k in range(21, 0, -2)))
    return 2.0 * f * series + exponent * 0.6931471805599453
