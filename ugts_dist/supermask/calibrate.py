"""Calibration: one gain per layer, from forward passes, so that frozen weights start at a useful scale.

Frozen weights never adapt, so nothing corrects a network whose logits are nearly zero (row-normalised features) or
explode (deep networks). Calibration multiplies the weights of each layer by the number that makes the root mean square
of its pre-activations 1: layer-sequential unit variance (Mishkin and Matas 2016) for weights that stay frozen.

One pass is enough for layers that are linear in their weights and run once. A second pass measures all layers again.
Further passes correct layers that biases or repeated calls keep from their level.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ugts_dist.errors import InputError
from ugts_dist.supermask import arguments
from ugts_dist.supermask.masked import Supermask

_TOLERANCE = 0.01  # relative, of a level
_NOISE = 1e-3  # relative difference allowed between two measurements of a layer
_ATTEMPTS = 16  # per layer in one pass
_PASSES = 32  # per layer: a layer that runs before and after another one changes it again
_LARGEST_STEP = math.log(1e4)
_FARTHEST = math.log(1e8)
_SLOPES = (0.1, 10.0)  # d log(level) / d log(gain): below 1 with biases, n with n calls

Layers = Mapping[nn.Module, Sequence[str]]


def calibrate(
    mask: Supermask,
    forward: Callable[[], Any],
    layers: Layers | None = None,
    *,
    sparsity: float = 0.0,
    levels: Mapping[nn.Module, float] | None = None,
) -> dict[str, float]:
    """Scale the frozen weights of each layer so that its output has root mean square 1, or the given level.

    The root mean square is taken over all calls of a layer, with a tolerance of 1 %. A UserWarning names layers for
    which no such gain exists (a bias larger than the level) and layers that the forward pass does not call as modules.

    Args:
        mask: the supermask of the model to calibrate. Its thresholds are left at `sparsity`.
        forward: runs the model on the calibration data, the same each time and without dropout (`model.eval()`). It is
            called at least twice, without gradients and without compilation.
        layers: module whose output is measured -> names of the weights that scale it, in the order of the forward
            pass. By default each module that owns a masked matrix `weight`.
        sparsity: the sparsity at which outputs are measured.
        levels: root mean square of the outputs of some modules, if it is not to be 1.

    Returns: the gain of each scaled weight. With a process group, all ranks use the gains of its first rank.

    Raises: ValueError for arguments that are not allowed. InputError for a layer whose output is all zero or not
    finite, and if no layer is called.
    """
    if not isinstance(mask, Supermask) or not callable(forward):
        text = f"mask is {type(mask).__name__} and forward {type(forward).__name__}"
        raise TypeError(f"calibration: {text}, allowed are a Supermask and a function")
    chosen = _matrix_owners(mask) if layers is None else {module: list(names) for module, names in layers.items()}
    wanted = dict.fromkeys(chosen, 1.0) | dict(levels or {})
    _check(mask, chosen, wanted)
    mask.step(sparsity)
    calibration = _Calibration(mask, forward, chosen, wanted, sparsity)
    calibration.scale_in_order()
    off = calibration.correct()
    untold = [*calibration.uncalled(), *off, *(_sharing(mask, chosen) if layers is None else [])]
    if untold:
        warnings.warn(f"calibration: {'; '.join(untold)}", UserWarning, stacklevel=2)
    return calibration.gains


class _Calibration:
    """The layers with their gains and levels so far."""

    def __init__(
        self,
        mask: Supermask,
        forward: Callable[[], Any],
        layers: dict[nn.Module, list[str]],
        levels: dict[nn.Module, float],
        sparsity: float,
    ) -> None:
        self._mask, self._forward, self._layers, self._levels = mask, forward, layers, levels
        self._sparsity = sparsity
        self.gains: dict[str, float] = {}
        self._called: set[nn.Module] = set()
        self._measured: dict[nn.Module, float] = {}
        self._passes = 0

    def scale_in_order(self) -> None:
        """Run one pass in which each layer is scaled at its first call, so that the next layer reads scaled input."""

        def scaled(module: nn.Module, output: Tensor) -> Tensor:
            if module in self._called:
                return output
            self._called.add(module)
            level = float(self._of_first_rank(output.detach().double().square().mean().sqrt()))
            gain = self._levels[module] / self._usable(module, level)
            self._scale(module, gain)
            return output * gain

        self._run(scaled)
        if not self._called:
            names = ", ".join(name for names in self._layers.values() for name in names)
            raise InputError(f"calibration: the forward pass calls no module of {names}")

    def correct(self) -> list[str]:
        """Measure all layers and correct the gains that are off. Returns messages about layers that are still off."""
        self._measure()
        off = self._off()
        if not off:
            return []
        before = dict(self._measured)
        self._measure()
        if any(abs(self._measured[module] / level - 1.0) > _NOISE for module, level in before.items()):
            return ["two forward passes gave different outputs, as with dropout: call model.eval() before"]
        while off and self._passes < _PASSES * len(self._layers):
            for module in off:
                self._settle(module)
            off = self._off()
        return [
            f"the output of {', '.join(self._layers[module])} has root mean square {self._measured[module]:.3g}, "
            f"and no gain was found that makes it {self._levels[module]:g}"
            for module in off
        ]

    def _off(self) -> list[nn.Module]:
        return [module for module in self._layers if module in self._called and self._error(module)]

    def uncalled(self) -> list[str]:
        """Messages about layers that were not called, or not as modules."""
        names = [name for module, names in self._layers.items() if module not in self._called for name in names]
        return [f"{', '.join(names)} keep their scale: the forward pass does not call their modules"] if names else []

    def _settle(self, module: nn.Module) -> None:
        """Find the gain of one layer: the secant method on logarithms, within bounds as soon as they are known."""
        at, low, high, slope = 0.0, -_FARTHEST, _FARTHEST, 1.0  # logarithms of factors on the current gain
        for _ in range(_ATTEMPTS):
            error = self._error(module)
            if not error:
                return
            low, high = (at, high) if error > 0 else (low, at)
            step = max(-_LARGEST_STEP, min(_LARGEST_STEP, error / slope))
            if not low < at + step < high:
                step = (low + high) / 2 - at
            before = self._measured[module]
            self._scale(module, math.exp(step))
            self._measure()
            at += step
            slope = max(_SLOPES[0], min(_SLOPES[1], math.log(self._measured[module] / before) / step))
        if self._error(module):
            self._scale(module, math.exp(-at))
            self._measure()

    def _error(self, module: nn.Module) -> float:
        """Logarithm of the factor that a layer's level lacks; 0 within the tolerance."""
        ratio = self._levels[module] / self._measured[module]
        return 0.0 if abs(1.0 / ratio - 1.0) <= _TOLERANCE else math.log(ratio)

    def _scale(self, module: nn.Module, gain: float) -> None:
        for name in self._layers[module]:
            try:
                self._mask.scale(name, gain)
            except ValueError as error:
                raise InputError(f"calibration of {name} at sparsity {self._sparsity}: {error}") from None
            self.gains[name] = self.gains.get(name, 1.0) * gain

    def _measure(self) -> None:
        """The root mean square of each layer's output, over all of its calls in one pass."""
        squares = {module: torch.zeros(2, dtype=torch.float64) for module in self._called}

        def noted(module: nn.Module, output: Tensor) -> Tensor:
            if module in squares:
                squares[module] += torch.stack(
                    [output.detach().double().square().sum().cpu(), torch.tensor(output.numel(), dtype=torch.float64)]
                )
            return output

        self._run(noted)
        self._passes += 1
        modules = [module for module in self._layers if module in squares]
        device = self._mask.scores()[0].device
        sums = self._of_first_rank(torch.stack([squares[module] for module in modules]).to(device)).cpu()
        for module, (total, count) in zip(modules, sums.tolist(), strict=True):
            self._measured[module] = self._usable(module, math.sqrt(total / count) if count else 0.0)

    def _usable(self, module: nn.Module, level: float) -> float:
        if not 0.0 < level < math.inf:
            names = ", ".join(self._layers[module])
            raise InputError(
                f"calibration: the output of {names} has root mean square {level} at sparsity {self._sparsity}"
            )
        return level

    def _of_first_rank(self, value: Tensor) -> Tensor:
        group = self._mask.process_group
        if group is not None:
            dist.broadcast(value, dist.get_global_rank(group, 0), group=group)
        return value

    def _run(self, watch: Callable[[nn.Module, Tensor], Tensor]) -> None:
        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            # A compiled model would use the code that it was compiled to before.
            stack.enter_context(torch.compiler.set_stance("force_eager"))
            stack.enter_context(_no_fused_attention())
            for module in self._layers:
                stack.enter_context(_watched(module, watch))
            self._forward()


@contextmanager
def _watched(module: nn.Module, watch: Callable[[nn.Module, Tensor], Tensor]) -> Iterator[None]:
    """Pass each output of a module to `watch`. Hooks would miss `module.forward(x)`, which some PyG layers call."""
    before, forward = module.__dict__.get("forward"), module.forward

    @functools.wraps(forward)
    def watched(*args: Any, **kwargs: Any) -> Tensor:
        output = forward(*args, **kwargs)
        if not isinstance(output, Tensor):
            raise ValueError(
                f"calibration: {type(module).__name__} returns {type(output).__name__}, allowed are layers that return "
                f"a tensor; name the layers"
            )
        return watch(module, output)

    module.forward = watched
    try:
        yield
    finally:
        del module.forward
        if before is not None:
            module.forward = before


@contextmanager
def _no_fused_attention() -> Iterator[None]:
    """Disable torch's fused transformer layers, which read the weights of their modules without calling these."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _check(mask: Supermask, layers: Layers, levels: Mapping[nn.Module, float]) -> None:
    if not layers:
        raise ValueError("calibration: no layer owns a masked matrix `weight`; name the layers")
    seen: set[str] = set()
    for module, names in layers.items():
        if not isinstance(module, nn.Module):
            raise ValueError(f"layers has {type(module).__name__}, allowed are modules with names of their weights")
        arguments.known("weight of a layer", names, mask.weights())
        twice = seen.intersection(names)
        if twice:
            raise ValueError(f"layers has {sorted(twice)[0]} twice, allowed is one layer for a weight")
        seen.update(names)
    for module, level in levels.items():
        if module not in layers:
            raise ValueError(f"levels has {type(module).__name__}, allowed are modules that are among the layers")
        arguments.positive(f"level of {', '.join(layers[module])}", level)


def _matrix_owners(mask: Supermask) -> dict[nn.Module, list[str]]:
    modules = dict(mask.model.named_modules())
    return {
        modules[name.rpartition(".")[0]]: [name]
        for name, weight in mask.weights().items()
        if weight.dim() == 2 and name.rpartition(".")[2] == "weight"
    }


def _sharing(mask: Supermask, layers: Layers) -> Iterator[str]:
    """Messages about further modules that read a weight that was calibrated for the first of them."""
    modules = dict(mask.model.named_modules(remove_duplicate=False))
    for name, own in mask.shared().items():
        module = modules[name.rpartition(".")[0]]
        if module not in layers and any(own in names for names in layers.values()):
            yield f"{name.rpartition('.')[0]}, which shares {own}, was not measured"
