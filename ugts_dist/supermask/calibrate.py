"""Calibration: one gain per layer, from one forward pass, so that frozen weights start at a useful scale.

The weights never train, so nothing corrects a network whose logits are nearly zero (row-normalised features) or
explode (deep ones). Layer by layer, the weights are multiplied by the one number that makes the root mean square of
the layer's pre-activations 1: layer-sequential unit variance (Mishkin and Matas 2016) for weights that stay frozen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ugts_dist.errors import InputError
from ugts_dist.supermask.masked import Supermask


def calibrate(
    mask: Supermask,
    forward: Callable[[], Any],
    layers: Mapping[nn.Module, Sequence[str]] | None = None,
    *,
    sparsity: float = 0.0,
    levels: Mapping[nn.Module, float] | None = None,
) -> dict[str, float]:
    """Scale the frozen weights of each layer so that its output has a root mean square of 1, or of its level.

    Args:
        mask: of the model to calibrate, whose thresholds are left at `sparsity`.
        forward: runs the model once on the data to calibrate on.
        layers: module whose output is measured -> names of the weights that scale it, which must enter that output
            linearly; in the order of the forward pass. By default each module that owns a masked matrix `weight`.
        sparsity: the sparsity at which the output is measured.
        levels: root mean square of the output of some modules, where it is not to be 1.

    Returns: the gain of each weight. With a process group, the gains of its first rank are used on all ranks.

    Raises: InputError for a layer whose output is all zero or not finite.
    """
    layers = _matrix_owners(mask) if layers is None else layers
    if not layers:
        raise ValueError("calibration: no layer owns a masked matrix `weight`; name the layers")
    mask.step(sparsity)
    levels = levels or {}
    gains: dict[str, float] = {}

    def hook(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        measured = output.detach().double().square().mean().sqrt()
        if mask.process_group is not None:
            dist.broadcast(measured, dist.get_global_rank(mask.process_group, 0), group=mask.process_group)
        level = float(measured)
        if not 0.0 < level < float("inf"):
            names = ", ".join(layers[module])
            raise InputError(f"calibration: the output of {names} has root mean square {level} at sparsity {sparsity}")
        gain = levels.get(module, 1.0) / level
        for name in layers[module]:
            mask.scale(name, gain)
            gains[name] = gain
        return output * gain

    handles = [module.register_forward_hook(hook) for module in layers]
    try:
        with torch.no_grad():
            forward()
    finally:
        for handle in handles:
            handle.remove()
    return gains


def _matrix_owners(mask: Supermask) -> dict[nn.Module, list[str]]:
    modules = dict(mask.model.named_modules())
    return {
        modules[name.rpartition(".")[0]]: [name]
        for name, weight in mask.weights().items()
        if weight.dim() == 2 and name.rpartition(".")[2] == "weight"
    }
