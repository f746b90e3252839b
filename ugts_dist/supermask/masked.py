"""Frozen random weights, one trained score per weight, and the supermask that the scores define."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ugts_dist.supermask import arguments
from ugts_dist.supermask.entry import Entry
from ugts_dist.supermask.recipe import Options, Recipe, check_gain
from ugts_dist.supermask.sites import plain_tensors
from ugts_dist.supermask.targets import Targets
from ugts_dist.supermask.thresholds import Thresholds
from ugts_dist.supermask.weights import fingerprint

_ADVICE = "try a smaller learning rate"


class Supermask:
    """The masks of a model: its scores, thresholds and frozen weights. `sparsify` makes it.

    The model's `state_dict` holds all of it. A model that was sparsified with the same arguments loads this state. A
    model with another seed, initialisation or other options raises ValueError before it loads anything.
    """

    def __init__(
        self,
        model: nn.Module,
        entries: dict[str, Entry],
        recipe: Recipe,
        options: Options,
        process_group: dist.ProcessGroup | None,
    ) -> None:
        self.model = model
        self.recipe = recipe
        self.options = options
        self.process_group = process_group
        self._entries = entries
        self._fingerprint = ""
        self._hashed: object = None  # the weights' mark when the fingerprint was computed
        self._checked: object = None  # their mark when they were compared with the seed's
        self._thresholds = Thresholds([entry.masked for entry in entries.values()], options, process_group)
        self._threshold: Tensor | None = None
        self._set: tuple[Tensor, int] | None = None  # a layer's threshold after the last step, and its version

    def scores(self) -> list[nn.Parameter]:
        """The trained tensors: one per masked weight, of its shape."""
        return [entry.masked.score for entry in self._entries.values()]

    def weights(self) -> dict[str, Tensor]:
        """The frozen weights before masking, including gains, by parameter name."""
        return {name: entry.weight for name, entry in self._entries.items()}

    def masks(self) -> dict[str, Tensor]:
        """The boolean supermasks at the current thresholds, by parameter name.

        Raises FloatingPointError if a score or a threshold is not finite.
        """
        self.check_finite()
        return {name: entry.masked.mask() for name, entry in self._entries.items()}

    def levels(self) -> dict[str, Tensor]:
        """The values of masks that are not binary, int8, by parameter name; empty for binary masks.

        Raises FloatingPointError if a score or a threshold is not finite.
        """
        if self.options.form.is_binary:
            return {}
        self.check_finite()
        return {name: entry.masked.levels() for name, entry in self._entries.items()}

    def gains(self) -> dict[str, float]:
        """The factor of each random weight, set once by calibration (1 without it)."""
        return {name: entry.masked.gain for name, entry in self._entries.items()}

    def scales(self) -> dict[str, float]:
        """The factor of each masked weight at its current density (1 without `rescale`)."""
        return {name: float(entry.masked.scale) for name, entry in self._entries.items()}

    def shared(self) -> dict[str, str]:
        """Further names of masked weights -> the name under which the weight is masked."""
        return {name: entry.site.name for entry in self._entries.values() for name in entry.site.names[1:]}

    def unmasked(self) -> dict[str, Tensor]:
        """All other parameters and buffers of the model, such as biases and normalisation, which are frozen."""
        return dict(plain_tensors(self.model))

    @property
    def num_weights(self) -> int:
        """Number of weights that the masks cover."""
        return sum(score.numel() for score in self.scores())

    @torch.no_grad()
    def step(self, sparsity: float) -> None:
        """Set the thresholds so that exactly `round(sparsity * N)` weights are masked, apart from ties.

        N counts all masked weights (scope `global`) or those of each layer (scope `layer`). Input layers are masked
        first, up to `input_sparsity`. Each other layer keeps its best weights up to `min_layer_density`; these are
        masked last. Pruned weights are masked at every sparsity, locked weights at none. With several coats each has
        its own sparsity; that of the first is `sparsity`.

        With a process group every rank must call it, and all get the same bits.

        Raises: ValueError for a sparsity outside [0, 1) or above 1 - `locked`. FloatingPointError for scores on the CPU
        that are not finite. Scores on a GPU are not checked here, so that the host need not wait; `masks`, `sparsity`
        and `Ticket.of` check them.
        """
        targets = self.targets(sparsity)
        if all(score.device.type == "cpu" for score in self.scores()) and not self._sum_of_scores().isfinite():
            self._check_scores()
        self.apply(targets)

    def targets(self, sparsity: float) -> Targets:
        """What the thresholds of `step` must reach. Raises ValueError as `step` does."""
        sparsity = arguments.fraction("sparsity", sparsity, below_one=True)
        if sparsity > 1.0 - self.options.locked + 1e-9:
            raise arguments.refused("sparsity", sparsity, f"at most 1 - locked, {1.0 - self.options.locked:g}")
        sizes = {name: entry.masked.score.numel() for name, entry in self._entries.items()}
        return Targets.of(sparsity, sizes, self.options, self.scores()[0].device)

    @torch.no_grad()
    def apply(self, targets: Targets) -> None:
        """Set the thresholds. A step that is recorded does this; it reads the targets and scores from their device."""
        thresholds = self._thresholds.set(targets)
        self._threshold = thresholds[0, 0] if self.options.scope == "global" else None
        set_threshold = next(iter(self._entries.values())).masked.threshold
        self._set = set_threshold, set_threshold._version

    @property
    def threshold(self) -> Tensor | None:
        """The global threshold of the last step, which input layers do not share.

        None before a step, after a `state_dict` was loaded, and with one threshold per layer.
        """
        own = next(iter(self._entries.values())).masked.threshold
        if self._set is None or self._set[0] is not own or self._set[1] != own._version:
            return None
        return self._threshold

    def sparsity(self) -> float:
        """Achieved sparsity: the fraction of weights masked to zero at the current thresholds.

        Raises FloatingPointError if a score or a threshold is not finite.
        """
        kept = sum(int(mask.sum()) for mask in self.masks().values())
        return 1.0 - kept / self.num_weights

    def fingerprint(self) -> str:
        """SHA-256 of the frozen weights; recomputed only after they have changed."""
        mark = self._mark()
        if mark != self._hashed:
            self._fingerprint, self._hashed = fingerprint(self.weights()), mark
        return self._fingerprint

    @torch.no_grad()
    def scale(self, name: str, gain: float) -> None:
        """Multiply one frozen weight by a number, which becomes part of the ticket.

        Raises ValueError for an unknown name, and if the product of the gains has a magnitude outside 2^-64 to 2^64.
        """
        arguments.known("name", [name], self._entries)
        entry = self._entries[name]
        entry.masked.gain = check_gain(entry.masked.gain * gain)
        # Computed from the random values and not from the scaled ones, so that a ticket gets the same bits.
        if not entry.masked.is_folded:
            entry.original.copy_(entry.regenerated(self.recipe))

    @torch.no_grad()
    def check_finite(self) -> None:
        """Raise FloatingPointError, with the name of the weight, for scores or thresholds that are not finite.

        This reads all scores once and waits for the device.
        """
        self._check_scores()
        thresholds = torch.stack([entry.masked.threshold for entry in self._entries.values()])
        unknown = thresholds.isnan().view(len(self._entries), -1).any(1)  # infinite thresholds are allowed
        for name, is_unknown in zip(self._entries, unknown.tolist(), strict=True):
            if is_unknown:
                raise FloatingPointError(f"the scores of {name} were not finite at the last step: {_ADVICE}")

    def _sum_of_scores(self) -> Tensor:
        """Finite only if every score is. A sum is much faster than a search for the extremes."""
        return torch.stack([score.detach().sum() for score in self.scores()]).sum()

    @torch.no_grad()
    def _check_scores(self) -> None:
        ends = torch.stack([torch.stack(score.aminmax()) for score in self.scores()])
        for name, finite in zip(self._entries, ends.isfinite().all(1).tolist(), strict=True):
            if not finite:
                raise FloatingPointError(f"the scores of {name} are not finite: {_ADVICE}")

    @torch.no_grad()
    def check(self) -> None:
        """Raise ValueError if a ticket made now would not rebuild the network; see `Ticket.of`."""
        mark = self._mark()
        if mark != self._checked:
            for name, entry in self._entries.items():
                if not torch.equal(entry.weight, entry.regenerated(self.recipe)):
                    raise ValueError(
                        f"{name} is not what seed {self.recipe.seed}, {self.recipe.weight_init} and gain "
                        f"{entry.masked.gain:g} give: it was changed; allowed is Supermask.scale"
                    )
            self._checked = mark
        modules = {id(module) for module in self.model.modules()}
        known = {id(tensor) for entry in self._entries.values() for tensor in (entry.original, entry.masked.score)}
        for name, entry in self._entries.items():
            if any(id(place.module) not in modules for place in entry.site.places):
                raise ValueError(f"{name} belongs to a module that the model no longer has: sparsify the model again")
        for name, parameter in self.model.named_parameters():
            if parameter.dim() >= 2 and id(parameter) not in known:
                raise ValueError(f"{name} was added after sparsify and is not masked: sparsify the model again")

    def _mark(self) -> object:
        """A value that differs after any change of the frozen weights or gains. It costs one sum over the weights.

        Versions detect changes that autograd sees; the sums detect changes through `.data`.
        """
        weights = [entry.original for entry in self._entries.values()]
        sums = torch.stack([weight.detach().view(torch.int32).sum(dtype=torch.int64) for weight in weights]).tolist()
        versions = [(id(weight), weight._version) for weight in weights]
        return versions, sums, list(self.gains().values())
