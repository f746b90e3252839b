from __future__ import annotations

import threading
from collections.abc import Generator

import pytest

from ugts_dist.graphs.ahead import read_ahead


def test_items_come_in_order_and_one_ahead() -> None:
    made: list[int] = []
    next_is_made = [threading.Event() for _ in range(21)]

    def numbers() -> Generator[int, None, None]:
        for number in range(20):
            made.append(number)
            next_is_made[number].set()
            yield number
        next_is_made[20].set()

    for position, number in enumerate(read_ahead(numbers())):
        assert number == position
        assert next_is_made[position + 1].wait(10), "the next is made while this one is used"
        assert len(made) <= position + 2
    assert made == list(range(20))


def test_nothing_is_an_item_too() -> None:
    assert list(read_ahead(item for item in (None, 0, None))) == [None, 0, None]


def test_an_error_is_raised_where_its_item_is_due() -> None:
    def numbers() -> Generator[int, None, None]:
        yield 0
        yield 1
        raise ValueError("two")

    items = read_ahead(numbers())
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(items)


def test_generator_and_thread_end_with_their_consumer() -> None:
    before, closed = threading.active_count(), []

    def numbers() -> Generator[int, None, None]:
        try:
            yield from range(1000)
        finally:
            closed.append(True)

    items = read_ahead(numbers())
    next(items)
    assert threading.active_count() == before + 1
    items.close()
    assert closed == [True]
    assert threading.active_count() == before
