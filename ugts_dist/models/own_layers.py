"""The layers of an own network: the modules with a matrix `weight`, and how they follow one another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing

Watch = Callable[[str, Callable[..., Any], Any, Any], Any]

_CLOSE = 1e-4  # relative difference that counts as equal


@dataclass(frozen=True)
class Layers:
    """The layers that a forward pass calls.

    Attributes:
        called: name of the module -> name of its weight, in the order of the first calls. A weight that modules share
            is listed once.
        first: those that read the features through no other layer.
        last: those whose outputs reach the logits through no other layer.
        sums: name of a PyG layer -> those that it contains, if they are several and it adds them up, as SAGEConv does:
            its output is linear in all of their weights together.
    """

    called: Mapping[str, str]
    first: frozenset[str]
    last: frozenset[str]
    sums: Mapping[str, tuple[str, ...]]


def find_layers(network: nn.Module, forward: Callable[[Tensor], Tensor], x: Tensor) -> Layers:
    """Watch two forward passes; x `[num_nodes, num_features]`.

    The first pass cuts the gradient behind each layer: only the first layers then see an input with one. The second
    pass cuts it before each layer: only the last layers then get one.
    """
    modules = dict(network.named_modules())
    names = {id(weight): name for name, weight in network.named_parameters()}
    owners = {
        name: names[id(weight)]
        for name, module in modules.items()
        if (weight := module._parameters.get("weight")) is not None and weight.dim() == 2
    }
    called: dict[str, str] = {}
    first: set[str] = set()

    def cut_behind(name: str, layer: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        out = layer(*args, **kwargs)
        if not isinstance(out, Tensor):  # such a layer can't be measured
            return out
        if owners[name] not in called.values():
            called[name] = owners[name]
        if any(value.requires_grad for value in _tensors([args, kwargs])):
            first.add(name)
        return out.detach()

    def cut_before(name: str, layer: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        return layer(*_detached(args), **_detached(kwargs))

    with _watched({name: modules[name] for name in owners}, cut_behind), _without_gradients(network):
        forward(x.clone().requires_grad_())
    with _watched({name: modules[name] for name in called}, cut_before):
        out = forward(x)
    reached = gradients(out, [network.get_parameter(name) for name in called.values()])
    last = {name for name, gradient in zip(called, reached, strict=True) if gradient is not None}
    return Layers(called, frozenset(first & called.keys()), frozenset(last), _sums(network, lambda: forward(x), called))


@torch.no_grad()
def _sums(network: nn.Module, forward: Callable[[], Any], called: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The PyG layers whose output changes by equal steps as the weights of their layers grow from 0 to 1 to 2."""
    sums: dict[str, tuple[str, ...]] = {}
    for name, module in network.named_modules():
        inside = tuple(layer for layer in called if layer.startswith(f"{name}."))
        if not isinstance(module, MessagePassing) or len(inside) < 2:
            continue
        weights = [network.get_parameter(called[layer]) for layer in inside]
        kept, outputs = [weight.clone() for weight in weights], list[Any]()

        def noted(name: str, layer: Callable[..., Any], args: Any, kwargs: Any, outputs: list[Any] = outputs) -> Any:
            outputs.append(layer(*args, **kwargs))
            return outputs[-1]

        try:
            for factor in (0.0, 1.0, 2.0):
                for weight, own in zip(weights, kept, strict=True):
                    weight.copy_(factor * own)
                with _watched({name: module}, noted):
                    forward()
        except Exception:  # whatever a network raises for weights that it would never have
            continue
        finally:
            for weight, own in zip(weights, kept, strict=True):
                weight.copy_(own)
        if len(outputs) == 3 and all(isinstance(output, Tensor) for output in outputs):
            zero, one, two = outputs
            if close(two - one, one - zero):
                sums[name] = inside
    return sums


def close(one: Tensor, other: Tensor) -> bool:
    """Whether two outputs are equal but for rounding."""
    return bool((one - other).abs().max() <= _CLOSE * other.abs().max())


def gradients(out: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    """The gradient of each parameter; None for parameters that the output does not depend on."""
    if not out.requires_grad or not parameters:
        return (None,) * len(parameters)
    return torch.autograd.grad(out.square().sum(), list(parameters), allow_unused=True)


@contextmanager
def _watched(modules: Mapping[str, nn.Module], watch: Watch) -> Iterator[None]:
    """Call `watch` instead of each forward. Hooks would miss `module.forward(x)`, which some PyG layers call."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    before = {name: module.__dict__.get("forward") for name, module in modules.items()}
    for name, module in modules.items():
        module.forward = partial(_called, watch, name, module.forward)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for name, module in modules.items():
            del module.forward
            if before[name] is not None:
                module.__dict__["forward"] = before[name]


@contextmanager
def _without_gradients(network: nn.Module) -> Iterator[None]:
    """Compute no gradients of parameters, so that biases do not look like features."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def _called(watch: Watch, name: str, layer: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return watch(name, layer, args, kwargs)


def _detached(values: Any) -> Any:
    if isinstance(values, Tensor):
        return values.detach()
    if isinstance(values, dict):
        return {name: _detached(value) for name, value in values.items()}
    if type(values) in (list, tuple):
        return type(values)(_detached(value) for value in values)
    return values


def _tensors(values: Any) -> Iterable[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, dict):
        yield from _tensors(list(values.values()))
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)
