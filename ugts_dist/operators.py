"""Functions as operators of torch, `torch.ops.ugts.*`: what traces of a step show, and what a GPU does its own way.

`torch.library.custom_op` would do the same, but imports torch's compiler at the first call, which takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

F = TypeVar("F", bound=Callable[..., torch.Tensor])

_LIBRARY = torch.library.Library("ugts", "DEF")  # the operators are there as long as it is


def operator(schema: str) -> Callable[[F], F]:
    """Register a function of tensors, without gradients, as an operator with this schema, and return that operator.

    A trace of operations contains it as a whole. The function neither changes nor returns its arguments.
    """

    def registered(function: F) -> F:
        name = _LIBRARY.define(schema).split("::")[-1].split("(")[0]
        _LIBRARY.impl(name, function, "CompositeExplicitAutograd")
        return getattr(torch.ops.ugts, name)

    return registered
