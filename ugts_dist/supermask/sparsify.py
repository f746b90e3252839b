"""Turn any model into one with frozen random weights and trained scores."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, get_args

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ugts_dist.supermask import arguments
from ugts_dist.supermask.entry import Entry
from ugts_dist.supermask.frozen import frozen_ranks
from ugts_dist.supermask.masked import Supermask
from ugts_dist.supermask.masked_weight import MaskedWeight, Rank, refuse_other_states
from ugts_dist.supermask.recipe import Options, Ranking, Recipe, Scope
from ugts_dist.supermask.sites import Site, find_sites, plain_tensors
from ugts_dist.supermask.weights import Init, random_tensor


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
    rank: Rank | None = None,
    min_layer_density: float = 0.0,
    input_layers: Iterable[str] = (),
    input_sparsity: float = 0.0,
    coats: int = 1,
    signed: bool = False,
    pruned: float = 0.0,
    locked: float = 0.0,
    fold: Iterable[Iterable[str]] = (),
    process_group: dist.ProcessGroup | None = None,
) -> Supermask:
    """Freeze a model's weights at reproducible random values and give each a trainable score.

    Every parameter with two or more axes is masked. All others (biases, normalisation) are frozen as they are.

    Args:
        model: any module, on any device; it is changed in place. Layers read the masked weights.
        seed: determines, with the parameter's name, each weight and each score.
        weight_init: distribution of the frozen weights.
        score_init: distribution of the initial scores, which are multiplied by `score_scale`.
        scope: one threshold for all layers, or one per layer.
        rescale: multiply a layer's kept weights by density^-1/2 at every step, since the frozen weights were drawn for
            a dense layer and never adapt. The paper does not.
        ranking: compare the scores themselves, or their magnitudes.
        rank: function of each weight's scores (or magnitudes), whose result is compared instead: from `[*shape]` to the
            same shape and type, deterministic, differentiable. With signed masks, gradients bypass it.
        min_layer_density: lowest density of a layer, as a fraction of `1 - sparsity`, whatever the global threshold.
            0, as in the paper, can empty a layer; 1 gives every layer the same density.
        input_layers: names of weights, such as those that read the features, with their own threshold. They are masked
            first, up to `input_sparsity`. Needs scope `global`.
        input_sparsity: sparsity of the input layers, in [0, 1).
        coats: number of nested thresholds on each score, up to 64. A weight counts once for each threshold that its
            score reaches. The first threshold has the sparsity of the step; the others are evenly spaced towards 1. 1
            is a binary mask.
        signed: multiply each kept weight by the sign of its score (Koster et al., ICLR 2022). Needs ranking
            `magnitude`. The gradient of a score is that of its mask value, as for other masks.
        pruned: fraction of each weight tensor that is always masked, drawn from the seed. A ticket file stores no bits
            for it. Sparsities count all weights (Otsuka et al. 2024).
        locked: fraction that is always kept, drawn from the seed. These weights pass every coat.
        fold: groups of names of weights of equal shape that share the random values of the first name. Each weight has
            its own scores, mask and gain (hidden-network folding, Yan et al., LoG 2023).
        process_group: ranks that share the search for the threshold. By default all ranks if `torch.distributed` is
            initialised.

    A weight with several names in the model, or shared by several modules, is one weight: it has one score and one
    mask, and its first name determines its values.

    Returns: the model's Supermask, at sparsity 0.

    Raises: ValueError, in one line, for an argument that is not allowed and for a model that can't be masked: one
    without weights, with uninitialised, already masked, parametrized or overlapping weights, compiled or wrapped, or
    with state that no ticket can store. The model is then unchanged.
    """
    recipe = Recipe(seed, weight_init, fold)  # type: ignore[arg-type]  # it makes tuples of any collections
    options = Options(
        scope,
        rescale,
        ranking,
        min_layer_density,
        arguments.names("input_layers", input_layers),
        input_sparsity,
        coats,
        signed,
        pruned,
        locked,
        "" if rank is None else getattr(rank, "__qualname__", type(rank).__qualname__),
    )
    arguments.one_of("score_init", score_init, get_args(Init))
    arguments.positive("score_scale", score_scale)
    sites = find_sites(model)
    _check_input_layers(options, [site.name for site in sites])
    recipe.check_fold({site.name: site.parameter.shape for site in sites})
    for _ in plain_tensors(model):
        pass  # raises ValueError for state that no ticket can store
    if process_group is None and dist.is_available() and dist.is_initialized():
        process_group = dist.group.WORLD
    entries: dict[str, Entry] = {}

    def initial_score(site: Site) -> Tensor:
        score = random_tensor(recipe.seed, "score", site.name, site.parameter.shape, score_init) * score_scale
        return score.to(site.parameter.device)

    if rank is not None:  # before the model changes; all scores at a time would take the memory of the whole network
        for site in sites:
            score = initial_score(site)
            _check_rank(rank, score.abs() if ranking == "magnitude" else score)
    for site in sites:
        score = initial_score(site)
        frozen = frozen_ranks(recipe.seed, site.name, site.parameter.shape, options.form)
        device = site.parameter.device
        masked = MaskedWeight(score, recipe, options, None if frozen is None else frozen.to(device), rank)
        entries[site.name] = _install(site, masked)
    for first, *others in recipe.fold:
        for name in others:
            entries[name].share(entries[first])
    for module in model.modules():  # a state can be loaded into any of them
        module.register_load_state_dict_pre_hook(refuse_other_states)
    model.requires_grad_(False)
    for entry in entries.values():
        entry.masked.score.requires_grad_(True)
    return Supermask(model, entries, recipe, options, process_group)


def _check_input_layers(options: Options, names: Collection[str]) -> None:
    given = options.input_layers
    arguments.known("input_layers", given, names)
    if given and (options.scope == "layer" or set(given) == set(names)):
        raise ValueError(f"input_layers is {', '.join(given)}, allowed with scope 'global' and beside other weights")


def _check_rank(rank: Rank, score: Tensor) -> None:
    ranked = rank(score)
    if ranked.shape == score.shape and ranked.dtype == score.dtype and ranked.isfinite().all():
        return
    finite = "finite" if ranked.isfinite().all() else "not finite"
    returned = f"{finite} and of shape {tuple(ranked.shape)}, {ranked.dtype}"
    allowed = f"finite ones of shape {tuple(score.shape)}, {score.dtype}"
    raise ValueError(f"rank returns values that are {returned}, allowed are {allowed}")


@torch.no_grad()
def _install(site: Site, masked: MaskedWeight) -> Entry:
    """Write the random values, and mask them for every layer that reads the weight."""
    entry = Entry(site, masked)
    lists = None
    for place in site.places:
        parametrize.register_parametrization(place.module, place.attribute, masked)
        parametrizations: Any = place.module.parametrizations
        if lists is None:
            lists = parametrizations[place.attribute]
        parametrizations[place.attribute] = lists  # shared by all readers
        place.module.register_state_dict_post_hook(_WithoutPlainName(place.attribute))
    entry.original.copy_(entry.regenerated(masked.recipe))
    return entry


@dataclass
class _WithoutPlainName:
    """Hook of `state_dict` that removes the masked weight if a layer, such as PyG's Linear, adds it by itself."""

    attribute: str

    def __call__(self, module: nn.Module, state_dict: dict[str, Any], prefix: str, _: Any) -> None:
        if parametrize.is_parametrized(module, self.attribute):
            state_dict.pop(prefix + self.attribute, None)
