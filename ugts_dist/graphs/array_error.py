"""The error for an array that violates what a graph promises."""

from __future__ import annotations

from ugts_dist.errors import InputError


class ArrayError(InputError):
    """An array that violates what ``Graph`` promises: its name, and the problem."""

    def __init__(self, message: str, array: str = "", problem: str = "") -> None:
        super().__init__(message)
        self.array = array
        self.problem = problem


def array_error(name: str, array: str, found: str, allowed: str) -> ArrayError:
    """The error of one array of the graph ``name``: what it has, and what is allowed."""
    problem = f"has {found}; allowed: {allowed}"
    return ArrayError(f"{name}: {array} {problem}", array, problem)
