"""Remedies for deep networks, compared with dense matrices."""

from __future__ import annotations

from typing import Any, Literal, get_args

import pytest
import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn

from tests.models.dense_network import adjacency_of, dense_network
from tests.models.graphs import block_of, random_edges
from ugts_dist import InputError
from ugts_dist.config import Config
from ugts_dist.models import GNN, Block, DeepGNNOptions, Dropout, SparseFeatures, prepare
from ugts_dist.models.convs import GCNConv
from ugts_dist.models.gnn import Arch
from ugts_dist.supermask import calibrate, sparsify

N, FEATURES, CLASSES = 15, 7, 3
EDGES = random_edges(N, 50)
BLOCK = block_of(EDGES, N)
ADJACENCY = adjacency_of(EDGES, N)
ARCHS: tuple[Arch, ...] = get_args(Arch)
SKIPS: tuple[Literal["residual", "initial", "jumping"], ...] = ("residual", "initial", "jumping")
NORMS: tuple[Literal["none", "nodenorm", "pairnorm"], ...] = ("none", "nodenorm", "pairnorm")
CASES = [(arch, DeepGNNOptions(norm=norm)) for arch in ARCHS for norm in NORMS[1:]] + [
    (arch, DeepGNNOptions(skip, 0.3, norm)) for arch in ARCHS if arch != "gin-paper" for skip in SKIPS for norm in NORMS
]
MAPPED: tuple[Arch, ...] = ("gcn", "gat")  # which can have an identity mapping
CASES += [
    (arch, DeepGNNOptions(skip, 0.3, norm, 0.6))
    for arch in MAPPED
    for skip in SKIPS[:2]
    for norm in ("none", "nodenorm")
]


def features(sparse: bool = False) -> Any:
    x = torch.randn(N, FEATURES, generator=torch.Generator().manual_seed(0))
    return SparseFeatures.of(x * (x > 0.5)) if sparse else x


def network(arch: Arch, remedies: DeepGNNOptions, depth: int = 3) -> GNN:
    torch.manual_seed(1)
    return GNN(arch, FEATURES, CLASSES, depth, width=12, heads=2, remedies=remedies)


@pytest.mark.parametrize(("arch", "remedies"), CASES)
def test_a_network_is_its_formula(arch: Arch, remedies: DeepGNNOptions) -> None:
    model = network(arch, remedies)
    expected = dense_network(model, remedies, features(), ADJACENCY)
    torch.testing.assert_close(model(features(), [BLOCK] * 3), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("arch", "remedies"), CASES)
def test_dropout_is_that_of_each_layers_input(arch: Arch, remedies: DeepGNNOptions) -> None:
    model, dropout = network(arch, remedies), Dropout(0.4, 5, 7, torch.arange(N))

    def drop(x: Tensor, layer: int) -> Tensor:
        out = dropout(x, layer)
        assert isinstance(out, Tensor)
        return out

    expected = dense_network(model, remedies, features(), ADJACENCY, drop)
    torch.testing.assert_close(model(features(), [BLOCK] * 3, dropout), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("k", [0, 1, 31])
@pytest.mark.parametrize("width", [4, 12])  # whether the linear map or the aggregation comes first
def test_an_identity_mapping_is_that_of_pyg(k: int, width: int) -> None:
    ours = GCNConv(width, width, DeepGNNOptions("initial", identity=0.6).mixing(k))
    theirs = pyg.GCN2Conv(width, alpha=0.0, theta=0.6, layer=k + 1)
    with torch.no_grad():
        theirs.weight1.copy_(ours.lin.weight.t())
    x = torch.randn(N, width)
    torch.testing.assert_close(ours(x, BLOCK), theirs(x, torch.zeros(N, width), EDGES), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.aggregate_messages(ours.messages(x), BLOCK), ours(x, BLOCK), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("skip", SKIPS)
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("depth", [1, 4])
def test_every_weight_is_maskable_and_gets_a_gradient(skip: Any, sparse: bool, depth: int) -> None:
    model = network("gcn", DeepGNNOptions(skip), depth)
    out = model(features(sparse), [BLOCK] * depth)
    assert out.shape == (N, CLASSES)
    out.square().sum().backward()
    assert len(list(model.parameters())) == depth + 2
    for name, value in model.named_parameters():
        assert value.dim() == 2, name
        assert value.grad is not None, name
        assert value.grad.abs().sum() > 0, name


def test_norms_add_nothing_to_what_is_saved() -> None:
    plain = ["convs.0.lin.weight", "convs.1.lin.weight", "convs.2.lin.weight"]
    for norm in NORMS:
        assert list(network("gcn", DeepGNNOptions(norm=norm)).state_dict()) == plain
    skipping = ["connections.input.weight", "connections.output.weight", *plain]
    assert sorted(network("gcn", DeepGNNOptions("jumping")).state_dict()) == sorted(skipping)


@pytest.mark.parametrize("skip", ["none", *SKIPS])
@pytest.mark.parametrize("norm", ["none", "nodenorm"])
def test_shrinking_blocks_give_the_rows_of_the_whole(skip: Any, norm: Any) -> None:
    """As a sampled batch has them: the first nodes of each layer's input are its output's."""
    model, x = network("sage", DeepGNNOptions(skip, 0.2, norm)), features()
    # The sources of the last layer must be among the 9 destinations of the one before.
    edges = EDGES[:, (EDGES[1] >= 4) | (EDGES[0] < 9)]
    last = block_of(edges, N, 0, 4)
    blocks = [block_of(edges, N), block_of(edges, N, 0, 9), Block(last.indptr, last.indices, last.degree[:9])]
    whole = model(x, [block_of(edges, N)] * 3)
    torch.testing.assert_close(model(x, blocks), whole[:4], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("arch", "remedies"), CASES)
def test_calibration_gives_every_measured_output_its_scale(arch: Arch, remedies: DeepGNNOptions) -> None:
    model, x = network(arch, remedies), features()
    mask = sparsify(model, seed=1)
    layers = model.calibrated()
    named = [name for names in layers.values() for name in names]
    assert sorted(named) == sorted(mask.weights()), "every weight has one output that it scales"
    levels = dict.fromkeys(model.attention(), 0.25) | dict.fromkeys(model.outputs(), 2.0)
    calibrate(mask, lambda: model(x, [BLOCK] * 3), layers, levels=levels)
    measured: dict[nn.Module, float] = {}

    def note(module: nn.Module, inputs: Any, output: Tensor) -> None:
        measured[module] = float(output.double().square().mean()) ** 0.5

    for module in layers:
        module.register_forward_hook(note)
    with torch.no_grad():
        logits = model(x, [BLOCK] * 3)
    assert list(measured) == list(layers), "in the order of the forward pass"
    assert [measured[module] for module in layers] == pytest.approx([levels.get(m, 1.0) for m in layers], rel=1e-4)
    if remedies.skip != "none":
        assert float(logits.double().square().mean()) ** 0.5 == pytest.approx(2.0, rel=1e-4)


@pytest.mark.parametrize(("arch", "remedies"), CASES)
def test_a_measured_output_is_linear_in_its_weights(arch: Arch, remedies: DeepGNNOptions) -> None:
    model = network(arch, remedies)
    for module, names in model.calibrated().items():
        outputs: list[Tensor] = []
        handle = module.register_forward_hook(lambda module, inputs, output, outputs=outputs: outputs.append(output))
        for gain in (1.0, 3.0):
            with torch.no_grad():
                for name in names:
                    model.get_parameter(name).mul_(gain)
                model(features(), [BLOCK] * 3)
        handle.remove()
        torch.testing.assert_close(outputs[1], 3.0 * outputs[0], rtol=1e-3, atol=1e-4)


def test_the_first_convolution_behind_a_linear_layer_is_prepared_too() -> None:
    model, block = network("gcn", DeepGNNOptions("initial")), block_of(EDGES, N)
    prepare("gcn", features(), [block] * 3, linear_before=True)
    before = len(list(block.tensors()))
    model(features(), [block] * 3).sum().backward()
    assert len(list(block.tensors())) == before
    assert "transposed" in vars(block.looped[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.arch": "gin-paper", "model.skip": "initial"}, "model.skip is initial, allowed is none for gin-paper"),
        ({"model.depth": 1, "model.norm": "pairnorm"}, "model.norm is pairnorm, allowed is none for model.depth 1"),
        ({"model.alpha": 0.0}, "model.alpha is 0.0, allowed is above 0 and below 1"),
        ({"model.skip": "initial", "model.identity": 2.0}, "model.identity is 2.0, allowed is [0, 1.7]"),
        (
            {"model.identity": 0.5},
            "model.identity is 0.5, allowed is 0 but for gcn and gat with model.skip residual or",
        ),
        ({"model.arch": "sage", "model.skip": "initial", "model.identity": 0.5}, "model.identity is 0.5, allowed is 0"),
        (
            {"model.norm": "pairnorm", "batch.size": 9, "batch.fan_out": [3, 3], "batch.micro_batches": 2},
            "batch.micro_batches is 2, allowed is 1",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Config().replace(changes)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
