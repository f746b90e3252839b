"""A trial of an own network on a tiny graph, before training: how it is called, and what it does."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing

from ugts_dist.errors import InputError, first_line
from ugts_dist.models.own_forward import ALLOWED, Form, forms_of, layer_output
from ugts_dist.models.own_layers import Layers, close, find_layers, gradients
from ugts_dist.models.own_tiny import EdgeData, TinyBatch, TinyGraph

_PLAIN = EdgeData()
_SEEDS = [0, 1, 2]


@dataclass(frozen=True)
class Trial:
    """What a trial has shown.

    Attributes:
        whole: how the network is called for a whole graph.
        sampled: how it is called for a part of a graph; None if it can't be.
        layers: the modules with a matrix `weight`.
        unused: names of parameters that forward does not use.
        statistics: names of buffers that change in training, such as the running statistics of BatchNorm.
        is_random: whether forward draws from torch's generator in training.
        reads_farther: whether logits depend on nodes beyond `depth` hops, or on statistics over all nodes.
        layer_hops: how many hops each layer needs if the network is evaluated layer by layer, by PyG's
            `inference_per_layer`: 1, or 2 for layers that count the degrees of neighbours; 0 if that does not work.
    """

    whole: Form
    sampled: Form | None
    layers: Layers
    unused: tuple[str, ...]
    statistics: tuple[str, ...]
    is_random: bool
    reads_farther: bool
    layer_hops: int


def try_out(
    network: nn.Module, factory: str, num_features: int, num_classes: int, depth: int, edges: EdgeData = _PLAIN
) -> Trial:
    """Run a copy of the network, on the CPU and with other weights.

    Args:
        factory: for messages.
        depth: number of layers that read neighbours.
        edges: what the edges of the graph have.

    Raises InputError, in one line, for a network that does not fit.
    """
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.manual_seed(0)
        graph = TinyGraph(depth + 6, num_features, depth, edges)
        try:
            return _Trial(network, graph, num_classes, depth).result()
        except _RefusedError as error:
            raise InputError(f"model.factory is {factory}: {error}") from error


class _RefusedError(Exception):
    """What is wrong with a network."""


class _Trial:
    def __init__(self, network: nn.Module, graph: TinyGraph, num_classes: int, depth: int) -> None:
        try:
            self._network = copy.deepcopy(network).eval()
        except Exception as error:
            raise _RefusedError(f"its network can't be copied: {first_line(error)}") from error
        self._graph, self._num_classes, self._depth = graph, num_classes, depth
        with torch.no_grad():
            for parameter in self._network.parameters():
                # Weights that are zero in the beginning would hide what the logits depend on.
                if parameter.dim() >= 2 and not nn.parameter.is_lazy(parameter):
                    parameter.normal_(0.0, (2.0 / max(1, parameter[0].numel())) ** 0.5)

    def result(self) -> Trial:
        forms = list(forms_of(self._network))
        if not forms:
            raise _RefusedError(f"forward has no parameter edge_index or adjs, allowed are {ALLOWED}")
        whole = self._form_of_whole(forms)
        if not torch.equal(self._seeded(whole, 1), self._seeded(whole, 2)):
            raise _RefusedError("forward is random in evaluation mode, allowed is noise in training mode only")
        sampled = self._form_of_samples(forms, whole)
        batch = self._graph.whole()
        layers = find_layers(self._network, lambda x: whole(self._network, x, batch.hops), batch.x)
        reads_farther = sampled is not None and self._reads_farther(sampled)
        layer_hops = next((n for n in (1, 2) if self._works_by_layers(whole, n)), 0)
        in_training = self._in_training(whole)
        whole = self._sparse(whole, batch) or whole
        if sampled is not None:
            sampled = self._sparse(sampled, self._graph.around(_SEEDS, self._depth)) or sampled
        return Trial(whole, sampled, layers, self._unused(whole), *in_training, reads_farther, layer_hops)

    def _form_of_whole(self, forms: list[Form]) -> Form:
        """The simplest form that gives logits. Raises the problem with it if none does."""
        problems = []
        for form in reversed(forms):
            problem = self._problem(form, self._graph.whole())
            if not problem:
                return form
            problems.append(problem)
        raise _RefusedError(problems[0])

    def _multiplies(self) -> bool:
        """Whether all layers multiply with a sparse matrix if they get one. Attention needs a message for each edge."""
        layers = [module for module in self._network.modules() if isinstance(module, MessagePassing)]
        return bool(layers) and all(layer.fuse for layer in layers)

    def _sparse(self, form: Form, batch: TinyBatch) -> Form | None:
        """The form with a sparse matrix, if it has the same logits and gradients: twice as fast, or more."""
        sparse = Form("sparse", is_named=form.is_named)
        if form.is_bipartite or form.reads(batch.hops) or not self._multiplies() or self._problem(sparse, batch):
            return None
        weights = [value for value in self._network.parameters() if value.requires_grad]
        try:
            one, other = (
                gradients(each(self._network, batch.x, batch.hops)[: batch.hops.num_seeds], weights)
                for each in (form, sparse)
            )
        except Exception:  # whatever a layer raises that was not written for it
            return None
        same = all(a is b if a is None or b is None else close(b, a) for a, b in zip(one, other, strict=True))
        return sparse if same and close(self._logits(sparse, batch), self._logits(form, batch)) else None

    def _form_of_samples(self, forms: list[Form], whole: Form) -> Form | None:
        """The most economical form with the logits of the simplest one; None if that fails for parts of a graph."""
        batch = self._graph.around(_SEEDS, self._depth)
        if self._problem(whole, batch):
            return None
        expected = self._logits(whole, batch)
        for form in forms:
            if not self._problem(form, batch) and close(self._logits(form, batch), expected):
                return form
        return whole

    @torch.no_grad()
    def _problem(self, form: Form, batch: TinyBatch) -> str:
        """What is wrong with the output; empty if nothing is."""
        try:
            out = form(self._network, batch.x, batch.hops)
        except Exception as error:
            return f"forward raises {first_line(error)}, allowed are {ALLOWED}"
        if not isinstance(out, Tensor) or not out.is_floating_point():
            kind = out.dtype if isinstance(out, Tensor) else type(out).__name__
            return f"forward returns {kind}, allowed is a tensor of floats"
        if out.dim() != 2 or out.shape[0] < batch.hops.num_seeds or out.shape[1] != self._num_classes:
            allowed = f"({batch.hops[0].num_src}, {self._num_classes}), nodes and out_channels"
            return f"forward returns shape {tuple(out.shape)}, allowed is {allowed}"
        return ""

    def _reads_farther(self, form: Form) -> bool:
        """With one more hop than layers all degrees are known; more nodes then change nothing."""
        if form.is_bipartite:
            return False
        near = self._logits(form, self._graph.around(_SEEDS, self._depth + 1))
        far = self._logits(form, self._graph.around(_SEEDS, self._depth + 2))
        return not close(near, far) or not close(near, self._logits(form, self._graph.whole())[_SEEDS])

    @torch.no_grad()
    def _works_by_layers(self, form: Form, num_hops: int) -> bool:
        """Whether the layers, each on parts of the graph, give the logits of the whole graph."""
        whole = self._graph.whole()
        if not hasattr(self._network, "inference_per_layer") or form.is_bipartite or form.reads(whole.hops):
            return False
        x = whole.x
        try:
            for layer in range(self._depth):
                parts = (self._graph.around(nodes.tolist(), num_hops) for nodes in torch.tensor(whole.nodes).split(3))
                x = torch.cat([layer_output(self._network, layer, x[part.nodes], part.hops) for part in parts])
        except Exception:  # whatever an unfinished method of someone else raises
            return False
        expected = self._logits(form, whole)
        return x.shape == expected.shape and close(x, expected)

    def _unused(self, form: Form) -> tuple[str, ...]:
        batch = self._graph.whole()
        parameters = {name: value for name, value in self._network.named_parameters() if value.requires_grad}
        found = gradients(form(self._network, batch.x, batch.hops), list(parameters.values()))
        return tuple(name for name, gradient in zip(parameters, found, strict=True) if gradient is None)

    def _in_training(self, form: Form) -> tuple[tuple[str, ...], bool]:
        """The buffers that change in training, and whether forward is random."""
        kept = self._network.state_dict().keys()
        before = {name: value.clone() for name, value in self._network.named_buffers() if name in kept}
        self._network.train()
        try:
            is_random = not torch.equal(self._seeded(form, 1), self._seeded(form, 2))
        except Exception as error:
            raise _RefusedError(f"forward raises {first_line(error)} in training mode") from error
        after = dict(self._network.named_buffers())
        return tuple(name for name, value in before.items() if not torch.equal(value, after[name])), is_random

    def _seeded(self, form: Form, seed: int) -> Tensor:
        torch.manual_seed(seed)
        return self._logits(form, self._graph.whole())

    @torch.no_grad()
    def _logits(self, form: Form, batch: TinyBatch) -> Tensor:
        """Logits of the seed nodes."""
        out: Tensor = form(self._network, batch.x, batch.hops)
        return out[: batch.hops.num_seeds]
