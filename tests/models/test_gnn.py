from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import pytest
import torch
import torch.nn.functional as F
import torch_geometric.nn as pyg
from torch import Tensor, nn

from tests.models.graphs import block_of, random_edges
from ugts_dist.models import GNN, Block, Rows, SparseFeatures, prepare
from ugts_dist.models.gnn import Arch
from ugts_dist.models.remedies import DeepGNNOptions
from ugts_dist.supermask import calibrate, sparsify

N, FEATURES, CLASSES = 15, 7, 3
EDGES = random_edges(N, 50)
BLOCK = block_of(EDGES, N)
ARCHS: tuple[Arch, ...] = get_args(Arch)


def features(sparse: bool = False) -> Any:
    x = torch.randn(N, FEATURES, generator=torch.Generator().manual_seed(0))
    return SparseFeatures.of(x * (x > 0.5)) if sparse else x


@pytest.mark.parametrize(
    ("arch", "depth"),
    # gin-paper needs a hidden layer, and the configuration says so.
    [(arch, depth) for arch in ARCHS for depth in (1, 2, 3, 4) if (arch, depth) != ("gin-paper", 1)],
)
@pytest.mark.parametrize("sparse", [False, True])
def test_every_weight_of_every_depth_gets_a_gradient(arch: Arch, depth: int, sparse: bool) -> None:
    torch.manual_seed(1)
    model = GNN(arch, FEATURES, CLASSES, depth, width=12, heads=2)
    out = model(features(sparse), [BLOCK] * depth)
    assert out.shape == (N, CLASSES)
    assert model.depth == depth
    out.square().sum().backward()
    for name, value in model.named_parameters():
        assert value.dim() >= 2, f"{name} is a bias"
        assert value.grad is not None, name
        assert value.grad.abs().sum() > 0, name


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("skip", ["none", "initial"])
def test_inputs_are_the_weights_with_a_column_for_each_feature(arch: Arch, skip: Literal["none", "initial"]) -> None:
    model = GNN(
        arch, 11, CLASSES, 3, width=12, heads=2, remedies=DeepGNNOptions("none" if arch == "gin-paper" else skip)
    )
    assert model.input_layers() == [name for name, value in model.named_parameters() if value.shape[-1] == 11]


def _pyg(arch: Arch, a: int, b: int, last: bool) -> nn.Module:
    match arch:
        case "gcn":
            return pyg.GCNConv(a, b, bias=False)
        case "sage":
            return pyg.SAGEConv(a, b, bias=False)
        case "gin":
            linears = (nn.Linear(a, 12, bias=False), nn.ReLU(), nn.Linear(12, b, bias=False))
            return pyg.GINConv(nn.Sequential(*linears))
        case "gat":
            return pyg.GATConv(a, b if last else b // 3, 3, concat=not last, bias=False)
    raise AssertionError(arch)


@pytest.mark.parametrize("arch", ["gcn", "sage", "gin", "gat"])
def test_a_network_is_pygs_layers_with_relu_between(arch: Arch) -> None:
    torch.manual_seed(2)
    model = GNN(arch, FEATURES, CLASSES, 3, width=12, heads=3)
    widths = [FEATURES, 12, 12, CLASSES]
    convs = nn.ModuleList(_pyg(arch, widths[k], widths[k + 1], k == 2) for k in range(3))
    convs.load_state_dict(model.convs.state_dict())
    x: Tensor = features()
    expected = convs[2](F.relu(convs[1](F.relu(convs[0](x, EDGES)), EDGES)), EDGES)
    torch.testing.assert_close(model(x, [BLOCK] * 3), expected, rtol=1e-4, atol=1e-5)


def test_the_papers_gin_by_hand() -> None:
    """Mean aggregation plus the node itself, one linear, ReLU always; the output averaged with a linear before it."""
    torch.manual_seed(3)
    model = GNN("gin-paper", FEATURES, CLASSES, 3, width=12)
    adjacency = torch.zeros(N, N).index_put((EDGES[1], EDGES[0]), torch.ones(()))
    propagate = adjacency / adjacency.sum(1, keepdim=True).clamp(min=1) + torch.eye(N)
    w = model.state_dict()
    x: Tensor = features()
    h = F.relu(propagate @ x @ w["convs.0.nn.weight"].t())
    h = F.relu(propagate @ h @ w["convs.1.nn.weight"].t())
    expected = (F.relu(propagate @ h @ w["convs.2.nn.weight"].t()) + h @ w["skip.weight"].t()) / 2
    torch.testing.assert_close(model(x, [BLOCK] * 3), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("arch", ARCHS)
def test_shrinking_blocks_give_the_rows_of_the_whole(arch: Arch) -> None:
    """As a sampled batch has them: the first nodes of each layer's input are its output's."""
    torch.manual_seed(4)
    model = GNN(arch, FEATURES, CLASSES, 3, width=12)
    x: Tensor = features()
    # The sources of the last layer must be among the 9 destinations of the one before.
    edges = EDGES[:, (EDGES[1] >= 4) | (EDGES[0] < 9)]
    last = block_of(edges, N, 0, 4)
    blocks = [block_of(edges, N), block_of(edges, N, 0, 9), Block(last.indptr, last.indices, last.degree[:9])]
    whole = model(x, [block_of(edges, N)] * 3)
    torch.testing.assert_close(model(x, blocks), whole[:4], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("sparse", [False, True])
def test_calibration_gives_every_measured_output_its_scale(arch: Arch, sparse: bool) -> None:
    model = GNN(arch, FEATURES, CLASSES, 3, width=12, heads=2)
    mask = sparsify(model, seed=1)
    x, layers = features(sparse), model.calibrated()
    named = [name for names in layers.values() for name in names]
    assert sorted(named) == sorted(mask.weights()), "every weight has one output that it scales"
    assert len(model.attention()) == (2 * 3 if arch == "gat" else 0)
    assert set(model.outputs()) <= set(layers)
    levels = dict.fromkeys(model.attention(), 0.25) | dict.fromkeys(model.outputs(), 2.0)
    calibrate(mask, lambda: model(x, [BLOCK] * 3), layers, levels=levels)
    measured: dict[nn.Module, float] = {}

    def note(module: nn.Module, inputs: Any, output: Tensor) -> None:
        measured[module] = float(output.double().square().mean()) ** 0.5

    handles = [module.register_forward_hook(note) for module in layers]
    with torch.no_grad():
        logits = model(x, [BLOCK] * 3)
    for handle in handles:
        handle.remove()
    assert [measured[module] for module in layers] == pytest.approx([levels.get(m, 1.0) for m in layers], rel=1e-5)
    if arch in ("gcn", "gin", "sage"):
        assert float(logits.double().square().mean()) ** 0.5 == pytest.approx(2.0, rel=1e-5)


@pytest.mark.parametrize("arch", ARCHS)
def test_a_masked_network_trains_its_scores_alone(arch: Arch) -> None:
    model = GNN(arch, FEATURES, CLASSES, 3, width=12, heads=2)
    mask = sparsify(model)
    mask.step(0.5)
    model(features(), [BLOCK] * 3).square().sum().backward()
    assert all(score.grad is not None and score.grad.abs().sum() > 0 for score in mask.scores())
    assert sum(value.requires_grad for value in model.parameters()) == len(mask.scores())


def test_unknown_architecture_is_refused() -> None:
    make: Callable[..., GNN] = GNN
    with pytest.raises(ValueError, match="unknown architecture 'gnn'"):
        make("gnn", FEATURES, CLASSES)


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize(("width", "num_features"), [(12, FEATURES), (6, FEATURES)])
def test_halves_of_the_layers_make_the_whole(arch: Arch, width: int, num_features: int) -> None:
    """The messages of all nodes, combined in two blocks of destinations, give the layer's output."""
    torch.manual_seed(2)
    model = GNN(arch, num_features, CLASSES, 3, width=width, heads=2)
    blocks = [block_of(EDGES, N, 0, 9), block_of(EDGES, N, 9, N)]
    x = features()
    with torch.no_grad():
        for k in range(3):
            sent = model.messages(k, x)
            joined = torch.cat([model.aggregate_messages(k, sent, block) for block in blocks])
            x = model.layer(k, x, BLOCK)
            torch.testing.assert_close(joined, x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arch", ARCHS)
def test_rows_of_a_table_are_the_features(arch: Arch) -> None:
    """Read in place or copied first: the same outputs and gradients."""
    table = torch.randn(40, FEATURES)
    ids = torch.randperm(40)[:N]
    torch.manual_seed(3)
    model = GNN(arch, FEATURES, CLASSES, 2, width=12, heads=2)
    block = block_of(EDGES, N, 0, 9)
    last = Block(torch.tensor([0, 2, 3]).int(), torch.tensor([4, 8, 1]).int(), torch.arange(9))
    logits, expected = model(Rows(table, ids), [block, last]), model(table[ids], [block, last])
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
    weights = list(model.parameters())
    for a, b in zip(*(torch.autograd.grad(out.square().sum(), weights) for out in (logits, expected)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arch", ARCHS)
def test_what_is_prepared_ahead_is_what_the_layers_use(arch: Arch) -> None:
    """Training on prepared blocks computes no transposed pattern of its own."""
    model = GNN(arch, FEATURES, CLASSES, 2, width=12, heads=2)
    blocks = [block_of(EDGES, N), block_of(EDGES, N)]
    prepare(arch, features(), blocks)
    before = [len(list(block.tensors())) for block in blocks]
    model(features(), blocks).sum().backward()
    # A layer on features without gradient needs no transposed pattern, except that of the attention.
    assert [len(list(block.tensors())) for block in blocks][1] == before[1]


@pytest.mark.parametrize("arch", get_args(Arch))
def test_layers_of_equal_shape_can_share_their_weights(arch: Arch) -> None:
    model = GNN(arch, 5, 3, 4, 8)
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters() if value.dim() > 1}
    shapes.pop("skip.weight", None)  # of no convolution
    folds = model.folds()
    names = [name for group in folds for name in group]
    assert len(names) == len({*names})
    for group in folds:
        assert len({(name.split(".", 2)[2], shapes[name]) for name in group}) == 1 < len(group)
    assert {"1", "2"} <= {name.split(".")[1] for name in names}
    alone = [(name.split(".", 2)[2], shape) for name, shape in shapes.items() if name not in names]
    assert len({*alone}) == len(alone), "no two of these could share theirs"
    sparsify(model, fold=folds)
