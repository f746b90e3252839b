from __future__ import annotations

import hashlib
import math
import statistics
import tracemalloc
from typing import get_args

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import ndtri

from ugts_dist.supermask.weights import Init, fan_in, fingerprint, normal_quantile, random_tensor

INITS: tuple[Init, ...] = get_args(Init)
NAME = "convs.0.lin.weight"

# Frozen: a ticket of any version must find these weights again. They may never change.
GOLDEN: dict[Init, tuple[list[str], str]] = {
    "kaiming-uniform": (
        ["-0x1.f8b0c20000000p-2", "-0x1.5c5dc40000000p-1", "0x1.965ab40000000p-5", "-0x1.d040980000000p-4"],
        "394514710eb44d097084075712293aa53b336d6a799a69c8c59343f5725378de",
    ),
    "kaiming-normal": (
        ["-0x1.9ff4500000000p-2", "-0x1.6277ee0000000p-1", "0x1.265ada0000000p-5", "-0x1.51d6ce0000000p-4"],
        "6bf0ae376fd91e6788724085c4eea869c1b74e61087bed1dfb62807374d559fd",
    ),
    "signed-constant": (
        ["-0x1.c9f25c0000000p-2", "-0x1.c9f25c0000000p-2", "0x1.c9f25c0000000p-2", "-0x1.c9f25c0000000p-2"],
        "a5545f3cfdd2e678ca6db7b8d164c9b2914b6f40edd2205bc6eb27124a4705da",
    ),
    "balanced": (
        ["-0x1.c9f25c0000000p-2"] * 4,
        "67f454b9902979bc8d6b3a368e5ee54d51db453331e9fa97071f51354c6bb3e7",
    ),
    "uniform": (
        ["-0x1.45c6ba0000000p-1", "-0x1.c1bd2a0000000p-1", "0x1.064cf20000000p-4", "-0x1.2bac700000000p-3"],
        "dcfa2605fd0d5bbcebc1cf1857f891e3b3292e52377a625919b59b9831cbbf50",
    ),
}
GOLDEN_SCORE = "b3a97842d5060f4860e60e7552bab6cb97ff5a11fa17f9de406205fbdd96d9a4"


@pytest.mark.parametrize("init", INITS)
def test_weights_are_what_they_were_when_the_first_ticket_was_made(init: Init) -> None:
    first, digest = GOLDEN[init]
    weight = random_tensor(0, "weight", NAME, (16, 10), init)
    assert [value.hex() for value in weight.flatten()[:4].tolist()] == first
    assert fingerprint({NAME: weight}) == digest


def test_scores_are_what_they_were_when_the_first_ticket_was_made() -> None:
    assert fingerprint({NAME: random_tensor(5300, "score", NAME, (1, 2, 8), "kaiming-uniform")}) == GOLDEN_SCORE


@pytest.mark.parametrize("init", INITS)
def test_the_stream_is_philox_keyed_by_seed_role_and_name(init: Init) -> None:
    """A second implementation, bit by bit, from the module's documentation."""
    digest = hashlib.sha256(b"12/weight/a.b").digest()
    key = sum(byte << (8 * i) for i, byte in enumerate(digest[:16]))
    raw = [int(value) for value in np.random.Philox(key=key).random_raw(12)]
    unit = [((value >> 11) + 0.5) / 2.0**53 for value in raw]
    scale = math.sqrt(2.0 / 4)  # fan-in 4
    expected = {
        "kaiming-uniform": [(2 * u - 1) * math.sqrt(6.0 / 4) for u in unit],
        "kaiming-normal": [float(ndtri(u)) * scale for u in unit],
        "signed-constant": [scale if u > 0.5 else -scale for u in unit],
        "balanced": [
            scale if u > statistics.median(row) else -scale for row in (unit[:4], unit[4:8], unit[8:]) for u in row
        ],
        "uniform": [2 * u - 1 for u in unit],
    }[init]
    tensor = random_tensor(12, "weight", "a.b", (3, 4), init)
    assert tensor.dtype == torch.float32
    assert tensor.flatten().tolist() == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("shape", [(7, 30), (1, 3, 70), (210, 1), (2, 105)])
def test_weights_drawn_in_chunks_are_those_drawn_at_once(
    init: Init, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = random_tensor(1, "weight", NAME, shape, init)
    monkeypatch.setattr("ugts_dist.supermask.weights._CHUNK", 64)
    assert torch.equal(random_tensor(1, "weight", NAME, shape, init), whole)


def test_drawing_takes_little_memory_beside_the_weights() -> None:
    tracemalloc.start()
    try:
        random_tensor(0, "weight", NAME, (1, 2**23), "kaiming-uniform")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * 2**23 + 48 * 2**20  # bytes


@pytest.mark.parametrize("init", INITS)
def test_seed_role_and_name_each_change_the_weights(init: Init) -> None:
    keys = [(0, "weight", "a"), (1, "weight", "a"), (0, "score", "a"), (0, "weight", "b"), (10, "weight", "a")]
    prints = [fingerprint({"": random_tensor(seed, role, name, (8, 8), init)}) for seed, role, name in keys]
    assert len(set(prints)) == len(keys)


def test_the_values_of_a_longer_tensor_begin_with_those_of_a_shorter_one() -> None:
    short = random_tensor(3, "weight", "w", (5, 7), "kaiming-uniform")
    assert torch.equal(random_tensor(3, "weight", "w", (9, 7), "kaiming-uniform")[:5], short)


def cdf(init: Init, deviation: float) -> stats.rv_continuous:
    bound = {"kaiming-uniform": math.sqrt(3.0) * deviation, "uniform": 1.0}.get(init)
    return stats.norm(scale=deviation) if bound is None else stats.uniform(-bound, 2 * bound)


@pytest.mark.parametrize("init", ["kaiming-uniform", "kaiming-normal", "uniform"])
@pytest.mark.parametrize("shape", [(400, 500), (1, 4, 50000)])
def test_continuous_distributions(init: Init, shape: tuple[int, ...]) -> None:
    deviation = math.sqrt(2.0 / math.prod(shape[1:]))
    values = random_tensor(1, "weight", NAME, shape, init).double().numpy().ravel()
    expected = cdf(init, deviation)
    n, sigma = values.size, float(expected.std())
    # Bounds of 4.5 standard errors; the kurtosis gives the standard error of the variance.
    assert abs(values.mean()) < 4.5 * sigma / math.sqrt(n)
    fourth = float(expected.stats("k")) + 3.0
    assert abs(values.var() / sigma**2 - 1.0) < 4.5 * math.sqrt((fourth - 1.0) / n)
    assert stats.kstest(values, expected.cdf).pvalue > 1e-4
    if init != "kaiming-normal":
        bound = float(expected.support()[1])
        assert 0.9999 * bound < np.abs(values).max() <= bound * (1.0 + 1e-7)
    # Neighbours in the stream are independent.
    assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 4.5 / math.sqrt(n)


def test_weights_and_scores_are_uncorrelated() -> None:
    weight, score = (random_tensor(0, role, NAME, (400, 500), "uniform").flatten() for role in ("weight", "score"))
    assert abs(np.corrcoef(weight, score)[0, 1]) < 4.5 / math.sqrt(weight.numel())


def test_signed_constant() -> None:
    values = random_tensor(1, "weight", NAME, (400, 500), "signed-constant")
    assert values.unique().tolist() == pytest.approx([-math.sqrt(2 / 500), math.sqrt(2 / 500)], rel=1e-7)
    positive = float((values > 0).double().mean())
    assert abs(positive - 0.5) < 4.5 * 0.5 / math.sqrt(values.numel())


@pytest.mark.parametrize(("shape", "positive"), [((40, 10), 5), ((40, 11), 6), ((1, 3, 4), 6), ((5, 1), 1)])
def test_balanced_has_as_many_of_either_sign_for_each_output(shape: tuple[int, ...], positive: int) -> None:
    values = random_tensor(1, "weight", NAME, shape, "balanced").flatten(1)
    assert values.abs().unique().tolist() == pytest.approx([math.sqrt(2 / fan_in(shape))], rel=1e-7)
    assert (values > 0).sum(1).tolist() == [positive] * shape[0]
    if shape[0] == 40:
        assert len({tuple(row.tolist()) for row in values}) > 30  # each in its own order


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((64, 1433), 1433), ((7, 16), 16), ((1, 4, 8), 32), ((1, 1, 256), 256), ((8, 3, 5, 5), 75)],
)
def test_fan_in(shape: tuple[int, ...], expected: int) -> None:
    assert fan_in(shape) == expected
    # The same as torch's for ordinary layers, and H * C for attention vectors [1, H, C].
    assert torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))[0] == expected


def test_the_bound_is_that_of_torch() -> None:
    weight = random_tensor(0, "weight", NAME, (300, 600), "kaiming-uniform")
    torch.manual_seed(0)
    theirs = torch.nn.init.kaiming_uniform_(torch.empty(300, 600), nonlinearity="relu")
    assert float(weight.abs().max()) == pytest.approx(float(theirs.abs().max()), rel=1e-3)
    assert float(weight.std()) == pytest.approx(float(theirs.std()), rel=1e-2)


def test_normal_quantile_is_scipys() -> None:
    p = np.concatenate(
        [
            (np.arange(200_000) + 0.5) / 200_000,
            np.geomspace(2.0**-54, 0.03, 5000),
            1.0 - np.geomspace(2.0**-53, 0.03, 5000),
            np.nextafter(0.02425, [0.0, 1.0]),  # where the approximations meet
            [0.02425, 1.0 - 0.02425, 2.0**-54, 1.0 - 2.0**-53],
        ]
    )
    expected = ndtri(p)
    assert np.all(np.abs(normal_quantile(p) - expected) <= 1.2e-9 * np.abs(expected))
    assert normal_quantile(np.array([0.5])).tolist() == [0.0]


def test_unknown_initialisation_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown initialisation 'xavier'"):
        random_tensor(0, "weight", NAME, (2, 2), "xavier")  # type: ignore[arg-type]


def test_fingerprint_is_sha256_of_names_shapes_and_bytes_in_order() -> None:
    a, b = torch.arange(6.0).reshape(2, 3), torch.tensor([[-1.5]])
    expected = hashlib.sha256(
        b"a(2, 3)" + np.arange(6, dtype="<f4").tobytes() + b"b(1, 1)" + np.array([-1.5], dtype="<f4").tobytes()
    ).hexdigest()
    assert fingerprint({"a": a, "b": b}) == fingerprint({"b": b, "a": a.t().contiguous().t()}) == expected
    assert fingerprint({"a": a.reshape(3, 2), "b": b}) != expected
    assert fingerprint({"c": a, "b": b}) != expected
    assert fingerprint({"a": a, "b": torch.nextafter(b, torch.tensor(0.0))}) != expected
