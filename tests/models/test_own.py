"""Own networks: how they are called, what a trial refuses, and PyG's classes against the networks of this program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn
from torch_geometric.utils import k_hop_subgraph

from tests.training.helpers import planted_graph
from ugts_dist.config_sections import ModelConfig
from ugts_dist.errors import InputError
from ugts_dist.evaluation.whole_graph import graph_block
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.sampling import NeighborSampler
from ugts_dist.models import GNN, Block, Dropout, Hops, NodeDropout, OwnNetwork
from ugts_dist.models.factory import build, source_sha256
from ugts_dist.models.own import check_trial
from ugts_dist.models.own_layers import find_layers
from ugts_dist.models.own_trial import Trial, try_out

NETS = "tests.training.own_nets"


def trial(network: nn.Module, depth: int = 2) -> Trial:
    return try_out(network, "nets:build", 16, 4, depth)


def own(name: str, **args: Any) -> OwnNetwork:
    return OwnNetwork.of(ModelConfig(factory=f"{NETS}:{name}", args=args, depth=2), 16, 4, seed=0)


def sampled(graph: Graph, seeds: Tensor, fan_out: list[int]) -> tuple[Tensor, Hops]:
    """The ids of a sample's nodes, and its blocks."""
    sample = NeighborSampler(graph.indptr, graph.indices, fan_out, 0).sample(0, seeds)
    return sample.nodes, Hops(
        Block(hop.indptr, hop.indices, graph.degree[sample.nodes][: hop.num_src]) for hop in reversed(sample.hops)
    )


@pytest.mark.parametrize("arch", ["gcn", "sage", "gat", "gin"])
def test_pygs_class_has_the_logits_of_the_built_in_network(arch: str) -> None:
    """With equal weights on the full batch; biases are zero, which the built-in networks do not have."""
    graph = planted_graph()
    ours = GNN(arch, 16, 4, 2, 16, heads=2 if arch == "gat" else 1)  # type: ignore[arg-type]
    theirs = own(arch, **({"jk": "last"} if arch == "gin" else {"bias": False}))
    state = ours.state_dict()
    if arch == "gin":  # PyG's last MLP keeps the width: its second map is the identity here, and `lin` is ours
        renamed = {"lin.weight": state["convs.1.nn.2.weight"], "convs.1.nn.lins.1.weight": torch.eye(16)}
        renamed |= {f"convs.{k}.nn.lins.0.weight": state[f"convs.{k}.nn.0.weight"] for k in range(2)}
        renamed["convs.0.nn.lins.1.weight"] = state["convs.0.nn.2.weight"]
        state = {name: torch.zeros_like(value) for name, value in theirs.network.state_dict().items()} | renamed
    theirs.network.load_state_dict(state)
    block = graph_block(graph, torch.device("cpu"))
    torch.testing.assert_close(theirs(graph.x, [block, block]), ours(graph.x, [block, block]), rtol=1e-4, atol=1e-5)


def test_all_neighbours_are_the_subgraph_of_pyg() -> None:
    graph = planted_graph()
    seeds = graph.train[:9]
    nodes, hops = sampled(graph, seeds, [-1, -1])
    union = hops.union
    assert union.kept is not None
    ids = nodes[union.kept]
    assert torch.equal(ids[:9], seeds)
    edge_index = torch.stack([graph.indices.long(), torch.arange(graph.num_nodes).repeat_interleave(graph.degree)])
    near, far = (k_hop_subgraph(seeds, num_hops, edge_index)[0] for num_hops in (1, 2))
    assert torch.equal(ids.sort().values, far)
    assert union.nodes_per_hop == [9, near.numel() - 9, far.numel() - near.numel()]
    expected = edge_index[:, torch.isin(edge_index[1], near)]
    ours = {(int(a), int(b)) for a, b in ids[union.edge_index].t()}
    assert ours == {(int(a), int(b)) for a, b in expected.t()}
    assert sum(union.edges_per_hop) == expected.shape[1]
    assert union.edges_per_hop[0] == int(graph.degree[seeds].sum())


def test_a_node_has_the_neighbours_of_the_hop_that_reached_it() -> None:
    graph = planted_graph()
    nodes, hops = sampled(graph, graph.train[:20], [3, 2])
    union = hops.union
    assert union.kept is not None
    first, second = union.nodes_per_hop[:2]
    counts = torch.bincount(union.edge_index[1], minlength=union.kept.numel())
    ids = nodes[union.kept]
    assert torch.equal(counts[:first], graph.degree[ids[:first]].clamp(max=3))
    assert torch.equal(counts[first : first + second], graph.degree[ids[first : first + second]].clamp(max=2))
    assert not counts[first + second :].any()
    reached = torch.zeros(union.kept.numel(), dtype=torch.bool)
    reached[:first] = True
    reached[union.edge_index[0]] = True
    assert reached.all(), "a node that nothing reads"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("sage", "sparse"), ("gin", "sparse"), ("gcn", "sparse"), ("gcn2", "sparse")),
        *(("gat", "trimmed"), ("pna", "trimmed"), ("transformer", "graph"), ("adjs", "adjs of three")),
    ],
)
def test_the_most_economical_form_with_the_same_logits_is_used(name: str, kind: str) -> None:
    """Layers that can multiply with a sparse matrix do. Trimming would change the degrees that a GCN counts."""
    form = own(name).trial.sampled
    assert form is not None
    assert form.kind == kind


def test_pairs_for_each_layer() -> None:
    assert own("adjs", num_items=2).trial.whole.kind == "adjs"


def test_the_layers_of_a_network() -> None:
    """In PyG's SAGE two maps are added, and after jumping knowledge one map reads all layers."""
    found = trial(pyg.GraphSAGE(16, 8, 2, 4)).layers
    assert list(found.called) == ["convs.0.lin_l", "convs.0.lin_r", "convs.1.lin_l", "convs.1.lin_r"]
    assert found.first == {"convs.0.lin_l", "convs.0.lin_r"}
    assert found.last == {"convs.1.lin_l", "convs.1.lin_r"}
    found = trial(pyg.GCN(16, 8, 2, 4, jk="cat")).layers
    assert found.first == {"convs.0.lin"}
    assert found.last == {"lin"}


def test_layers_that_are_added_have_one_gain() -> None:
    """As in the built-in GraphSAGE, where one factor scales both maps of a layer."""
    for options in ({}, {"bias": False}, {"aggr": "max"}):
        assert trial(pyg.GraphSAGE(16, 8, 2, 4, **options)).layers.sums == {
            "convs.0": ("convs.0.lin_l", "convs.0.lin_r"),
            "convs.1": ("convs.1.lin_l", "convs.1.lin_r"),
        }
    network = own("sage")
    (hidden, weights), (whole, last) = network.calibrated().items()
    assert hidden is network.network.get_submodule("convs.0")
    assert weights == ["convs.0.lin_l.weight", "convs.0.lin_r.weight"]
    assert whole is network.network
    assert last == ["convs.1.lin_l.weight", "convs.1.lin_r.weight"]


@pytest.mark.parametrize("kind", [pyg.GCN, pyg.GIN, pyg.GAT])
def test_layers_that_follow_one_another_have_their_own_gains(kind: type[pyg.models.basic_gnn.BasicGNN]) -> None:
    assert trial(kind(16, 8, 2, 4)).layers.sums == {}


def test_a_network_that_refuses_such_weights_has_no_sums() -> None:
    class Refusing(pyg.SAGEConv):
        def forward(self, *args: Any, **options: Any) -> Tensor:
            out: Tensor = super().forward(*args, **options)
            if not out.any():
                raise ValueError("all outputs are zero")
            return out

    network = pyg.GraphSAGE(16, 8, 2, 4, bias=False)
    network.convs[0] = Refusing(16, 8, bias=False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = trial(network).layers
    assert list(found.sums) == ["convs.1"]
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_a_search_for_sums_leaves_the_weights_as_they_are() -> None:
    network = pyg.GraphSAGE(16, 8, 2, 4)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    edges = torch.tensor([[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 0]])
    assert find_layers(network, lambda x: network(x, edges), torch.randn(6, 16)).sums
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_equal_layers_can_be_folded() -> None:
    network = own("gcn2", layers=3)
    assert ["convs.0.weight1", "convs.1.weight1", "convs.2.weight1"] in network.folds()


def test_a_trial_leaves_network_and_generator_as_they_were() -> None:
    network = pyg.GCN(16, 8, 2, 4, norm="batch", dropout=0.5)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    torch.manual_seed(3)
    shown = trial(network)
    drawn = torch.rand(2)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(2))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert shown.is_random
    assert shown.statistics[:2] == ("norms.0.module.running_mean", "norms.0.module.running_var")


class Noisy(nn.Module):
    """A network with the dropout of this program."""

    def __init__(self) -> None:
        super().__init__()
        self.lin, self.dropout = nn.Linear(16, 4), NodeDropout(0.5)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        out: Tensor = self.dropout(self.lin(self.dropout(x)))
        return out


def test_the_noise_belongs_to_step_and_node() -> None:
    graph = planted_graph()
    network = OwnNetwork(Noisy(), trial(Noisy(), 1), 1, own("gcn").origin)
    block = graph_block(graph, torch.device("cpu"))
    whole = [network(graph.x, [block], Dropout(0.0, 7, step, torch.arange(graph.num_nodes))) for step in (0, 0, 1)]
    assert torch.equal(whole[0], whole[1])
    assert not torch.equal(whole[0], whole[2])
    nodes, hops = sampled(graph, graph.train[:9], [3])
    part = network(graph.x[nodes], hops, Dropout(0.0, 7, 0, nodes))
    torch.testing.assert_close(part, whole[0][graph.train[:9]])
    assert torch.equal(network(graph.x, [block]), network.network.lin(graph.x))  # type: ignore[operator]
    kept = (whole[0] != 0).float().mean()
    assert 0.4 < float(kept) < 0.6


class Broken(nn.Module):
    """A network that does something wrong, by name."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault, self.lin = fault, nn.Linear(16, 4)
        self.idle = nn.Linear(3, 3) if fault == "idle" else None

    def forward(self, x: Tensor, edge_index: Tensor) -> Any:
        if self.fault == "raises":
            raise RuntimeError("no such thing")
        out = self.lin(x)
        faults = {"tuple": (out, out), "narrow": out[:, :3], "mean": out.mean(0), "whole numbers": out.argmax(1)}
        if self.fault == "noise":
            return torch.dropout(out, 0.5, True)
        return faults.get(self.fault, out)


class Adjacency(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(16, 4)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        out: Tensor = self.lin(x)
        return out


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Broken("raises"), r"forward raises RuntimeError: no such thing, allowed are forward\(x, edge_index\)"),
        (Broken("tuple"), "forward returns tuple, allowed is a tensor of floats"),
        (Broken("whole numbers"), "forward returns torch.int64, allowed is a tensor of floats"),
        (Broken("narrow"), r"forward returns shape \(16, 3\), allowed is \(16, 4\)"),
        (Broken("mean"), r"forward returns shape \(4,\), allowed is \(16, 4\)"),
        (Broken("noise"), "forward is random in evaluation mode"),
        (Adjacency(), "forward has no parameter edge_index or adjs"),
    ],
)
def test_a_network_that_does_not_fit_is_refused_in_a_line(network: nn.Module, message: str) -> None:
    with pytest.raises(InputError, match=f"^model.factory is nets:build: {message}") as refused:
        trial(network)
    assert "\n" not in str(refused.value)


def test_an_unused_weight_is_refused() -> None:
    with pytest.raises(InputError, match=r"forward does not use idle.weight, idle.bias"):
        check_trial("nets:build", trial(Broken("idle")), 2, in_parts=False)


@pytest.mark.parametrize("norm", ["LayerNorm", "PairNorm"])
def test_statistics_over_all_nodes_need_the_whole_graph(norm: str) -> None:
    shown = trial(pyg.GCN(16, 8, 2, 4, norm=norm))
    check_trial("nets:build", shown, 2, in_parts=False)
    with pytest.raises(InputError, match=r"^model.depth is 2, but the network of nets:build reads farther"):
        check_trial("nets:build", shown, 2, in_parts=True)


def test_a_network_that_reads_farther_than_its_depth() -> None:
    assert trial(pyg.GCN(16, 8, 3, 4), depth=2).reads_farther
    assert not trial(pyg.GCN(16, 8, 3, 4), depth=3).reads_farther


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nothing_of_this_name", "it can't be imported: ModuleNotFoundError: No module named 'nothing_of_this"),
        ("def build(:", "it can't be imported: SyntaxError: "),
        ("other = 1", "it has no function build"),
        ("build = 1", "it has no function build"),
        ("def build(in_channels, out_channels): raise OSError('gone')", r"with in_channels, .*raises OSError: gone"),
        ("def build(in_channels): return None", "raises TypeError: .*unexpected keyword argument 'out_channels'"),
        ("def build(in_channels, out_channels): return 3", "it returns int, allowed is a torch.nn.Module"),
    ],
)
def test_a_factory_that_does_not_work_is_refused_in_a_line(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "nets.py"
    file.write_text(text)
    with pytest.raises(InputError, match=rf"^model.factory is {file}:build: .*{message}") as refused:
        build(ModelConfig(factory=f"{file}:build", depth=1), 16, 4, 0)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("factory", ["nothing.of.this.name:build", "/nowhere/nets.py:build"])
def test_a_factory_that_is_not_there_is_refused_in_a_line(factory: str) -> None:
    with pytest.raises(InputError, match=f"^model.factory is {factory}: it can't be imported"):
        build(ModelConfig(factory=factory), 16, 4, 0)


def test_a_file_may_import_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "own_neighbour_module.py").write_text("from torch import nn\n")
    file = tmp_path / "nets.py"
    file.write_text(
        "from own_neighbour_module import nn\n"
        "def build(in_channels, out_channels, bias=True): return nn.Linear(in_channels, out_channels, bias)\n"
    )
    model = ModelConfig(factory=f"{file}:build", args={"bias": False})
    assert isinstance(build(model, 16, 4, 0), nn.Linear)
    assert len(source_sha256(model.factory)) == 64
