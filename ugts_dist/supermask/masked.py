"""Frozen random weights, one trained score per weight, and the supermask that the scores define."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ugts_dist.supermask.masked_weight import MaskedWeight, Ranking
from ugts_dist.supermask.threshold import kth_smallest, sent
from ugts_dist.supermask.weights import Init, fingerprint, random_tensor

Scope = Literal["global", "layer"]


@dataclass
class _Entry:
    """One masked weight: where it lives, and the number that its random values were multiplied by."""

    module: nn.Module
    attribute: str
    masked: MaskedWeight
    gain: float = 1.0

    @property
    def weight(self) -> Tensor:
        """The frozen weight, before masking."""
        return self.module.parametrizations[self.attribute].original  # type: ignore[union-attr,index]


@dataclass(frozen=True)
class Recipe:
    """How the frozen weights came about: all that a ticket needs beside the mask and the gains."""

    seed: int
    weight_init: Init = "kaiming-uniform"


class Supermask:
    """The masks of a model: its scores, thresholds and frozen weights. Made by `sparsify`."""

    def __init__(
        self,
        model: nn.Module,
        entries: dict[str, _Entry],
        recipe: Recipe,
        scope: Scope,
        rescale: bool,
        floor: float,
        first: Collection[str],
        first_sparsity: float,
        process_group: dist.ProcessGroup | None,
    ) -> None:
        self.model = model
        self.recipe = recipe
        self.scope = scope
        self.rescale = rescale
        self.floor = floor
        self.first = first
        self.first_sparsity = first_sparsity
        self.process_group = process_group
        self._entries = entries
        self._fingerprint: str | None = None
        self._threshold: Tensor | None = None

    def scores(self) -> list[nn.Parameter]:
        """The only trained tensors, one of each masked weight's shape."""
        return [entry.masked.score for entry in self._entries.values()]

    def weights(self) -> dict[str, Tensor]:
        """The frozen weights before masking, gains included, by parameter name."""
        return {name: entry.weight for name, entry in self._entries.items()}

    def masks(self) -> dict[str, Tensor]:
        """The boolean supermasks at the present thresholds, by parameter name."""
        return {name: entry.masked.mask() for name, entry in self._entries.items()}

    def gains(self) -> dict[str, float]:
        """What each random weight was multiplied by once (1 without calibration)."""
        return {name: entry.gain for name, entry in self._entries.items()}

    def scales(self) -> dict[str, float]:
        """What each masked weight is multiplied by at its present density (1 without `rescale`)."""
        return {name: float(entry.masked.scale) for name, entry in self._entries.items()}

    def unmasked(self) -> dict[str, Tensor]:
        """Every other parameter and buffer of the model, frozen as it was found: biases, normalisation."""
        held = tuple(
            f"{name}."
            for name, module in self.model.named_modules()
            if isinstance(module, parametrize.ParametrizationList)
        )
        # PyG's Linear also puts the masked weight under its plain name.
        return {
            name: value
            for name, value in self.model.state_dict().items()
            if not name.startswith(held) and name not in self._entries
        }

    @property
    def num_weights(self) -> int:
        """How many weights the masks cover."""
        return sum(score.numel() for score in self.scores())

    @torch.no_grad()
    def step(self, sparsity: float) -> None:
        """Set the thresholds so that exactly `round(sparsity * N)` weights are masked, ties aside.

        N counts all masked weights (scope `global`) or those of each layer (scope `layer`). The weights that are
        `first` are masked before all others, up to their own sparsity. With a floor the best weights of each other
        layer, up to its floor, are masked last of all. With a process group every rank must call it, and each gets the
        same bits.
        """
        if not 0.0 <= sparsity < 1.0:
            raise ValueError(f"sparsity is {sparsity}, allowed is [0, 1)")
        ranked = [entry.masked.ranked().detach() for entry in self._entries.values()]
        floors = self._floors(sparsity)
        protected = self._protected(ranked, floors)
        if protected is not None:
            ranked = [torch.where(score >= own, torch.inf, score) for score, own in zip(ranked, protected, strict=True)]
        groups = self._groups(sparsity, floors)
        sizes = [sum(ranked[i].numel() for i in group) for group, _ in groups]
        thresholds = kth_smallest(
            [[ranked[i] for i in group] for group, _ in groups],
            [min(masked, size - 1) for (_, masked), size in zip(groups, sizes, strict=True)],
            self.process_group,
        )
        self._threshold = thresholds[0] if self.scope == "global" else None
        self._set_thresholds(self._of_layers(thresholds, groups, sizes), protected)

    def _of_layers(self, thresholds: Tensor, groups: list[tuple[list[int], int]], sizes: list[int]) -> Tensor:
        """Each layer's threshold, `[num_layers]`, from those of the groups; above every score where all are masked."""
        of_layer = {i: g for g, (group, _) in enumerate(groups) for i in group}
        places = [of_layer[i] for i in range(len(of_layer))]
        own = thresholds[sent(places, torch.int64, thresholds.device)]
        emptied = [groups[g][1] == sizes[g] for g in places]
        return own.masked_fill_(sent(emptied, torch.bool, own.device), torch.inf) if any(emptied) else own

    def _set_thresholds(self, thresholds: Tensor, protected: Tensor | None) -> None:
        """All layers at once: on a GPU each kernel costs more to start than to run."""
        masked = [entry.masked for entry in self._entries.values()]
        own = thresholds if protected is None else torch.minimum(thresholds, protected)
        torch._foreach_copy_([weight.threshold for weight in masked], list(own.unbind()))
        if self.rescale:
            kept = torch.stack([weight.count_kept() for weight in masked]).float().clamp(min=1)
            sizes = sent([weight.score.numel() for weight in masked], torch.float32, kept.device)
            # Density^-1/2, so that a layer's outputs keep their scale as weights vanish.
            scales = (kept.reciprocal() * sizes).sqrt()
            torch._foreach_copy_([weight.scale for weight in masked], list(scales.unbind()))

    def _groups(self, sparsity: float, floors: list[int]) -> list[tuple[list[int], int]]:
        """Which weights share a threshold, by their places, and how many of them are masked; the global one first."""
        sizes = [score.numel() for score in self.scores()]
        if self.scope == "layer":
            return [([i], round(sparsity * size)) for i, size in enumerate(sizes)]
        masked = round(sparsity * sum(sizes))
        first = [i for i, name in enumerate(self._entries) if name in self.first]
        rest = [i for i in range(len(sizes)) if i not in first]
        if not first:
            return [(rest, masked)]
        most = round(self.first_sparsity * sum(sizes[i] for i in first))
        least = masked - sum(sizes[i] - floors[i] for i in rest)
        of_first = max(min(most, masked), least)
        return [(rest, masked - of_first), (first, of_first)]

    def _floors(self, sparsity: float) -> list[int]:
        """How many weights of each layer its floor keeps; none of the first ones."""
        share = self.floor * (1.0 - sparsity)
        return [
            0 if name in self.first else int(share * entry.masked.score.numel() + 1e-6)
            for name, entry in self._entries.items()
        ]

    def _protected(self, ranked: list[Tensor], floors: list[int]) -> Tensor | None:
        """The least score of each layer that its floor keeps, `[num_layers]`; None without a floor."""
        if not any(floors):
            return None
        places = [score.numel() - max(1, k) for score, k in zip(ranked, floors, strict=True)]
        least = kth_smallest([[score] for score in ranked], places, self.process_group)
        nothing = [k == 0 for k in floors]
        return least.masked_fill_(sent(nothing, torch.bool, least.device), torch.inf) if any(nothing) else least

    @property
    def threshold(self) -> Tensor | None:
        """The global threshold of the last step, of all weights but those that are `first`; None before it, and with a
        threshold for each layer."""
        return self._threshold

    def sparsity(self) -> float:
        """Achieved sparsity: the fraction of weights masked to zero at the present thresholds."""
        kept = sum(int(mask.sum()) for mask in self.masks().values())
        return 1.0 - kept / self.num_weights

    def fingerprint(self) -> str:
        """SHA-256 of the frozen weights; it never changes while the scores train, and is computed once."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint(self.weights())
        return self._fingerprint

    @torch.no_grad()
    def scale(self, name: str, gain: float) -> None:
        """Multiply one frozen weight by a number, which becomes part of the ticket."""
        entry = self._entries[name]
        entry.gain *= gain
        self._fingerprint = None
        # From the random values again, and not from the scaled ones, so that a ticket finds the same bits.
        original = random_tensor(self.recipe.seed, "weight", name, entry.weight.shape, self.recipe.weight_init)
        entry.weight.copy_(original.to(entry.weight.device) * entry.gain)


def sparsify(
    model: nn.Module,
    seed: int = 0,
    *,
    weight_init: Init = "kaiming-uniform",
    score_init: Init = "kaiming-uniform",
    score_scale: float = 1.0,
    scope: Scope = "global",
    rescale: bool = False,
    ranking: Ranking = "score",
    floor: float = 0.0,
    first: Collection[str] = (),
    first_sparsity: float = 0.0,
    process_group: dist.ProcessGroup | None = None,
) -> Supermask:
    """Freeze a model's weights at reproducible random values and give each a trainable score.

    Every parameter with two or more axes is masked; all others (biases, normalisation) are frozen as they are.

    Args:
        model: any module, on any device; changed in place. Layers see the masked weight where they read it.
        seed: with the parameter's name it determines each weight and each score.
        weight_init: distribution of the frozen weights.
        score_init: distribution of the first scores, times `score_scale`.
        scope: one threshold over all layers, or one a layer.
        rescale: multiply what is kept of a layer by its density^-1/2, at every step: the frozen weights were drawn for
            a dense layer and never adapt. The paper does not.
        ranking: compare the scores themselves, or their magnitudes.
        floor: part of its even share, `1 - sparsity` of its weights, that each layer keeps at least, whatever the
            global threshold: 0 is the paper's, which can empty a layer; 1 gives every layer the same density.
        first: names of weights, such as those that read the features, with a threshold of their own: they are masked
            before all others, up to the sparsity `first_sparsity`. For scope `global`.
        process_group: ranks that share the search for the threshold; by default all ranks, where
            `torch.distributed` is initialised.

    Returns: the model's Supermask, at sparsity 0.

    Raises: ValueError for a model without weights, with uninitialised, shared or already masked ones, and for what is
    `first` where there is no such weight, no other one, or no global threshold.
    """
    if not 0.0 <= floor <= 1.0:
        raise ValueError(f"floor is {floor}, allowed is [0, 1]")
    if not 0.0 <= first_sparsity < 1.0:
        raise ValueError(f"first_sparsity is {first_sparsity}, allowed is [0, 1)")
    if process_group is None and dist.is_available() and dist.is_initialized():
        process_group = dist.group.WORLD
    owners = list(_maskable(model))
    names = [name for name, *_ in owners]
    if not set(first) <= set(names):
        raise ValueError(f"first is {sorted(set(first) - set(names))[0]!r}, allowed are {', '.join(names)}")
    if first and (scope == "layer" or set(first) == set(names)):
        raise ValueError(f"first is {', '.join(first)}, allowed with scope 'global' and beside other weights")
    entries: dict[str, _Entry] = {}
    for name, module, attribute, parameter in owners:
        weight = random_tensor(seed, "weight", name, parameter.shape, weight_init)
        score = random_tensor(seed, "score", name, parameter.shape, score_init) * score_scale
        with torch.no_grad():
            parameter.copy_(weight)
        masked = MaskedWeight(score.to(parameter.device), ranking)
        parametrize.register_parametrization(module, attribute, masked)
        entries[name] = _Entry(module, attribute, masked)
    model.requires_grad_(False)
    for entry in entries.values():
        entry.masked.score.requires_grad_(True)
    recipe = Recipe(seed, weight_init)
    return Supermask(model, entries, recipe, scope, rescale, floor, first, first_sparsity, process_group)


def maskable_names(model: nn.Module) -> dict[str, torch.Size]:
    """Names and shapes of the parameters that `sparsify` would mask."""
    return {name: parameter.shape for name, _, _, parameter in _maskable(model)}


def _maskable(model: nn.Module) -> Iterable[tuple[str, nn.Module, str, nn.Parameter]]:
    found: dict[int, str] = {}
    for prefix, module in list(model.named_modules()):
        if isinstance(module, MaskedWeight):
            raise ValueError(f"{prefix.replace('.parametrizations', '')[:-2]} is masked already")
        for attribute, parameter in module.named_parameters(recurse=False):
            name = f"{prefix}.{attribute}" if prefix else attribute
            if isinstance(parameter, nn.parameter.UninitializedParameter):
                raise ValueError(f"{name} is not initialised: run the model once, or give its input size")
            if parameter.dim() < 2:
                continue
            if parameter.dtype != torch.float32:
                raise ValueError(f"{name} is {parameter.dtype}, allowed is torch.float32")
            if id(parameter) in found:
                raise ValueError(f"{name} is the same tensor as {found[id(parameter)]}: shared weights can't be masked")
            found[id(parameter)] = name
            yield name, module, attribute, parameter
    if not found:
        raise ValueError("the model has no parameter with two or more axes to mask")
