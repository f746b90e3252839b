from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.replay import by_make_fx
from ugts_dist.recorded import Function, Recorded, as_cuda_graph


class Sum:
    """A function that adds an input to a total, and counts its calls."""

    def __init__(self) -> None:
        self.total, self.input, self.calls = torch.zeros(4), torch.ones(4), 0

    def __call__(self) -> Tensor:
        self.calls += 1
        self.total.add_(self.input)
        return self.total.sum()

    def recorded(self, record: object) -> Recorded:
        return Recorded("the sum", self, lambda: [self.total], record)  # type: ignore[arg-type]


def stale(function: Function) -> Function:
    """Records the result of the first call instead of the operations."""
    result = function().clone()
    return lambda: result


def failing(function: Function) -> Function:
    function()
    raise RuntimeError("this is not permitted while capturing\nmore")


def results(total: Sum, recorded: Recorded, calls: int = 9) -> list[float]:
    """The results of calls whose inputs differ."""
    out = []
    for call in range(calls):
        total.input.fill_(call + 1)
        out.append(float(recorded()))
    return out


EXPECTED = [2.0 * (call + 1) * (call + 2) for call in range(9)]


def test_repetitions_read_their_inputs_and_change_the_state_in_place() -> None:
    total = Sum()
    recorded = total.recorded(by_make_fx)
    assert results(total, recorded) == EXPECTED
    assert recorded.is_repeated
    assert total.calls == 5  # eager ones, the recording, and the call that it is compared with


@pytest.mark.parametrize(
    ("record", "says"),
    [(stale, "a repetition had another result"), (failing, "RuntimeError: this is not permitted while capturing")],
)
def test_what_cannot_be_repeated_stays_eager(record: object, says: str, caplog: pytest.LogCaptureFixture) -> None:
    total = Sum()
    recorded = total.recorded(record)
    assert results(total, recorded) == EXPECTED
    assert not recorded.is_repeated
    assert [line.message.startswith("note: the sum is not recorded") for line in caplog.records] == [True]
    assert says in caplog.text
    assert "more" not in caplog.text


def test_errors_of_the_function_itself_are_raised() -> None:
    def wrong() -> Tensor:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        Recorded("it", wrong, list, by_make_fx)()


@pytest.mark.gpu
def test_a_cuda_graph_repeats_the_function() -> None:
    total = Sum()
    total.total, total.input = total.total.cuda(), total.input.cuda()
    recorded = total.recorded(as_cuda_graph)
    assert results(total, recorded) == EXPECTED
    assert recorded.is_repeated
