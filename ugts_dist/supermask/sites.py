"""The maskable weights of a model: their names, and every module that reads them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from ugts_dist.supermask.masked_weight import MaskedWeight
from ugts_dist.tensor_file import DTYPES

_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)


@dataclass(frozen=True)
class Place:
    """An attribute of a module."""

    module: nn.Module
    attribute: str

    @property
    def original(self) -> Tensor:
        """The parameter below the attribute's parametrizations."""
        return self.module.parametrizations[self.attribute].original  # type: ignore[union-attr,index]

    def share(self, first: Place) -> None:
        """Use the parameter of another place."""
        self.module.parametrizations[self.attribute].original = first.original  # type: ignore[union-attr,index]


@dataclass(frozen=True)
class Site:
    """One maskable weight.

    Attributes:
        names: all of its names in the model. The first one identifies it. There are several if modules share the
            weight, or if the model has a module under several names.
        places: the module attributes that read it, without repetition.
    """

    parameter: nn.Parameter
    names: tuple[str, ...]
    places: tuple[Place, ...]

    @property
    def name(self) -> str:
        return self.names[0]


def find_sites(model: nn.Module) -> list[Site]:
    """Every parameter with two or more axes, once, in the order of `model.named_parameters()`.

    Raises ValueError, in one line, for a model that can't be masked or has no such parameter.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"the model is {type(model).__name__}, allowed is a torch.nn.Module")
    _refuse_wrapped(model)
    _refuse_computed(model)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if nn.parameter.is_lazy(tensor):
            raise ValueError(f"{name} is not initialised: run the model once, or give its input size")
        if tensor.is_meta:
            raise ValueError(f"{name} is on the device meta, without memory: call model.to_empty(device=...) first")
    places: dict[int, list[Place]] = {}
    for module in model.modules():
        for attribute, parameter in module._parameters.items():
            if parameter is not None:
                places.setdefault(id(parameter), []).append(Place(module, attribute))
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    sites = [
        Site(parameter, tuple(names[id(parameter)]), tuple(places[id(parameter)]))
        for _, parameter in model.named_parameters()
        if parameter.dim() >= 2
    ]
    if not sites:
        raise ValueError("the model has no parameter with two or more axes to mask")
    for site in sites:
        if site.parameter.dtype != torch.float32:
            raise ValueError(f"{site.name} is {site.parameter.dtype}, allowed is torch.float32")
        if not site.parameter.numel():
            raise ValueError(f"{site.name} has shape {tuple(site.parameter.shape)}, allowed are axes of 1 or more")
    _refuse_overlaps(sites)
    return sites


def _refuse_wrapped(model: nn.Module) -> None:
    for name, module in model.named_modules():
        text = name or "the model"
        if isinstance(getattr(module, "_orig_mod", None), nn.Module):
            raise ValueError(f"{text} is compiled: sparsify the module itself first, and then call torch.compile")
        if isinstance(module, _WRAPPERS):
            raise ValueError(f"{text} is {type(module).__name__}: sparsify the module itself first, and then wrap it")


def _refuse_computed(model: nn.Module) -> None:
    """Raise ValueError for weights that are computed from parameters, such as masked or parametrized ones."""
    for prefix, module in model.named_modules():
        if isinstance(module, parametrize.ParametrizationList):
            name = prefix.replace("parametrizations.", "")
            if any(isinstance(one, MaskedWeight) for one in module):
                raise ValueError(f"{name} is masked already")
            if any(parameter.dim() >= 2 for parameter in module.parameters()):
                kinds = ", ".join(type(one).__name__ for one in module)
                raise ValueError(
                    f"{name} is parametrized by {kinds}: call torch.nn.utils.parametrize.remove_parametrizations first"
                )
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, WeightNorm | SpectralNorm):
                name = f"{prefix}.{hook.name}" if prefix else hook.name
                remove = "remove_weight_norm" if isinstance(hook, WeightNorm) else "remove_spectral_norm"
                raise ValueError(f"{name} has a {type(hook).__name__}: call torch.nn.utils.{remove} first")


def _refuse_overlaps(sites: list[Site]) -> None:
    """Raise ValueError for parameters that share memory, since they can't have separate weights."""
    spans = sorted((*_span(site.parameter), site.name) for site in sites)
    for (_, stop, first), (start, _, second) in itertools.pairwise(spans):
        if start < stop:
            raise ValueError(f"{second} shares memory with {first}: allowed is one nn.Parameter under both names")


def _span(tensor: Tensor) -> tuple[int, int]:
    """The address of the first byte, and the one after the last."""
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size()


def plain_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The entries of a plain model's `state_dict`: neither masked weights nor parts of their masking.

    Raises ValueError for entries that no ticket can store: `get_extra_state` without a tensor, complex numbers.
    """
    lists = [
        f"{name}."
        for name, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, parametrize.ParametrizationList) and any(isinstance(one, MaskedWeight) for one in module)
    ]
    held = tuple(lists)
    for name, value in model.state_dict().items():
        if name.startswith(held):
            continue
        if not isinstance(value, Tensor):
            raise ValueError(f"{name} is {type(value).__name__}, allowed in a model with a ticket are tensors")
        if value.dtype not in DTYPES:
            allowed = ", ".join(map(str, DTYPES))
            raise ValueError(f"{name} is {value.dtype}, allowed in a model with a ticket are {allowed}")
        yield name, value
