"""Work that threads do in advance, while its results are used one after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ahead(produce: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """`map(produce, items)`, in order, computed by threads in advance; at most two items per thread wait.

    An error of `produce` is raised when its item is due. The threads end with the iterator.
    """
    if threads == 0:
        yield from map(produce, items)
        return
    pool = ThreadPoolExecutor(threads, "sampling")
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(produce, item))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def read_ahead(items: Generator[T, None, None]) -> Generator[T, None, None]:
    """The items of a generator, each computed by a thread while the one before is used.

    An error is raised when its item is due. The generator is closed with this iterator, after the item that has been
    asked for: other ranks may take part in it, and wait for this one.
    """
    pool = ThreadPoolExecutor(1, "reading")
    end = object()

    def following() -> object:
        return next(items, end)

    try:
        waiting = pool.submit(following)
        while (item := waiting.result()) is not end:
            waiting = pool.submit(following)
            yield item  # type: ignore[misc]  # what the generator made
    finally:
        pool.shutdown(wait=True)
        items.close()
