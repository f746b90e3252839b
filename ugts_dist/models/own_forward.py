"""The ways in which the forward of an own network takes a batch, found by the names of its parameters."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from ugts_dist.models.hops import EDGE_VALUES, Hops, edge_values
from ugts_dist.models.sparse import Rows

Kind = Literal["graph", "sparse", "trimmed", "adjs", "adjs of three"]
ALLOWED = (
    "forward(x, edge_index), which may also take edge_weight, edge_attr, or num_sampled_nodes_per_hop with "
    "num_sampled_edges_per_hop, and forward(x, adjs)"
)
_TRIMMED = ("num_sampled_nodes_per_hop", "num_sampled_edges_per_hop")


@dataclass(frozen=True)
class Form:
    """One way to call a network.

    Attributes:
        kind: graph: edge_index `[2, num_edges]` of all hops. sparse: the same as a sparse matrix of torch in place of
            edge_index, with which PyG's layers multiply instead of gathering a message for each edge. trimmed: the
            numbers of nodes and edges of each hop, too, so that each layer computes only what the next one reads. adjs:
            a list with (edge_index, size) for each layer, as in PyG's examples of NeighborSampler; adjs of three:
            (edge_index, e_id, size).
        values: the edge weights and attributes that it takes.
        is_named: whether forward has a parameter of this name; otherwise the second one is meant.
    """

    kind: Kind
    values: tuple[str, ...] = ()
    is_named: bool = True

    def __call__(self, network: nn.Module, features: Tensor | Rows, hops: Hops) -> Any:
        """The network's output; `features` `[num_src, num_features]` are those of the sources of the first block."""
        kept = None if self.is_bipartite else hops.union.kept
        chosen = features if kept is None else features[kept]
        x = chosen.gather() if isinstance(chosen, Rows) else chosen
        if self.is_bipartite:
            pairs = hops.bipartite
            adjs: list[Any] = [(edges, None, size) for edges, size in pairs] if self.kind != "adjs" else pairs
            return network(x, adjs=adjs)
        union = hops.union
        options: dict[str, Any] = {name: value for name, value in union.values.items() if name in self.values}
        if self.kind == "trimmed":
            options |= dict(zip(_TRIMMED, (union.nodes_per_hop, union.edges_per_hop), strict=True))
        edges = union.adjacency if self.kind == "sparse" else union.edge_index
        if not self.is_named:
            return network(x, edges, **options)
        return network(x, edge_index=edges, **options)

    def reads(self, hops: Hops) -> bool:
        """Whether it passes weights or features of edges."""
        return any(name in self.values for name in edge_values(hops[-1]))

    @property
    def is_bipartite(self) -> bool:
        return self.kind in ("adjs", "adjs of three")


def layer_output(network: Any, layer: int, x: Tensor, hops: Hops) -> Tensor:
    """The output of one layer for the seed nodes, by PyG's `inference_per_layer`.

    `x` `[num_src, width]` is the layer's input for the sources of the first block.
    """
    union = hops.union
    x = x if union.kept is None else x[union.kept]
    out: Tensor = network.inference_per_layer(layer, x, union.edge_index, hops.num_seeds)
    return out


def forms_of(network: nn.Module) -> Iterator[Form]:
    """The forms that the parameters of forward allow, the most economical one for sampled batches first."""
    parameters = inspect.signature(network.forward).parameters
    if "adjs" in parameters:
        yield from (Form("adjs of three"), Form("adjs"))
    elif "edge_index" in parameters:
        values = tuple(name for name in EDGE_VALUES if name in parameters)
        if all(name in parameters for name in _TRIMMED):
            yield Form("trimmed", values)
        if all(parameters[name].default is not inspect.Parameter.empty for name in _TRIMMED if name in parameters):
            yield Form("graph", values)
    elif any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters.values()):
        yield Form("graph", is_named=False)  # such as torch_geometric.nn.Sequential
