"""Sets of small graphs: OGB's molecules (Hu et al. 2020), read from their raw files, and PyG's loader over them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from pyarrow import csv
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

from ugts_dist.errors import InputError
from ugts_dist.graphs.catalogue import DATA_VARIABLE, data_root
from ugts_dist.graphs.files import missing, reading
from ugts_dist.graphs.loader import SeedPlan
from ugts_dist.graphs.splits import SPLITS
from ugts_dist.graphs.tables import limited

FOLDERS = {
    "ogbg-molbace": "ogbg_molbace",
    "ogbg-molbbbp": "ogbg_molbbbp",
    "ogbg-molhiv": "ogbg_molhiv",
    "ogbg-molesol": "ogbg_molesol",
    "ogbg-molfreesolv": "ogbg_molfreesolv",
}
WITH_TARGETS = ("ogbg-molesol", "ogbg-molfreesolv")  # the others have labels of 0 and 1
FILES = tuple(f"raw/{part}.csv.gz" for part in ("edge", "node-feat", "graph-label", "num-node-list", "num-edge-list"))
SPLIT_FILES = {split: f"split/scaffold/{split}.csv.gz" for split in SPLITS}

_MOST_GRAPHS = 10_000_000  # per set; the largest of OGB's has four millions

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class GraphSet:
    """Many small graphs with labels. All nodes and all edges are in one array, graph after graph.

    Edges are in both directions and ascend by (destination, source) within their graph. They refer to nodes by their
    number within the graph.
    """

    name: str
    x: Tensor  # [num_nodes, num_features] int64, each feature a category
    edge_index: Tensor  # [2, num_edges] int64, sources above destinations
    node_ptr: Tensor  # [num_graphs + 1] int64, the first node of each graph
    edge_ptr: Tensor  # [num_graphs + 1] int64, the first edge of each graph
    y: Tensor  # [num_graphs, num_tasks] float32: labels 0 and 1, or targets; NaN if unknown
    train: Tensor  # [num_train] int64 graph ids, ascending
    valid: Tensor  # [num_valid] int64 graph ids, ascending
    test: Tensor  # [num_test] int64 graph ids, ascending
    digests: Mapping[str, str] = field(default_factory=dict)  # SHA-256 of the arrays, if known

    @property
    def num_graphs(self) -> int:
        return self.y.shape[0]

    @property
    def num_tasks(self) -> int:
        return self.y.shape[1]

    @cached_property
    def known(self) -> Tensor:
        """Number of known labels of each graph, [num_graphs] int64."""
        return (~self.y.isnan()).sum(1)


def load(name: str, root: str | Path | None = None, split: int = 0) -> GraphSet:
    """Read a dataset of ``FOLDERS`` with its scaffold split from ``root``/ogb, in the layout of OGB's own archives.

    The default root is that of the variable UGTS_DATA, or ~/.cache/ugts_dist/data. Nothing is downloaded or written.
    Bond features are left out, since no layer here reads them. Raises InputError that names file and row.
    """
    if split != 0:
        raise InputError(f"data.split: {split} is not a split of {name}; allowed: 0")
    folder = data_root(root) / "ogb" / FOLDERS[name]
    absent = missing(folder, (*FILES, *SPLIT_FILES.values()))
    if absent:
        origin = "data.root" if root is not None else DATA_VARIABLE
        raise InputError(
            f"{origin}: {name} needs {', '.join(absent)} in {folder}; put OGB's files there, or name another folder"
        )
    return read(folder, name)


def read(folder: Path, name: str) -> GraphSet:
    """Read the raw files in a dataset's folder; raises InputError that names the file and the row."""
    edge_file, atom_file, label_file, num_nodes_file, num_edges_file = (folder / file for file in FILES)
    num_nodes = _counts(num_nodes_file, 1, _MOST_GRAPHS)
    num_edges = _counts(num_edges_file, 0, num_nodes.size)
    is_binary = name not in WITH_TARGETS
    y = _labels(label_file, num_nodes.size, is_binary)
    for path, rows in ((num_edges_file, num_edges.size), (label_file, len(y))):
        _require_rows(path, rows, num_nodes.size, f"one a graph as in {num_nodes_file.name}")
    node_ptr, edge_ptr = _pointer(num_nodes), _pointer(2 * num_edges)
    train, valid, test = (torch.from_numpy(ids) for ids in _split(folder, y, is_binary))
    return GraphSet(
        name,
        torch.from_numpy(_atoms(atom_file, int(node_ptr[-1]))),
        torch.from_numpy(_bonds(edge_file, num_nodes, num_edges)),
        torch.from_numpy(node_ptr),
        torch.from_numpy(edge_ptr),
        torch.from_numpy(y),
        train,
        valid,
        test,
    )


class GraphLoader(DataLoader):
    """PyG's DataLoader over the steps of a plan: a batch is one rank's share of the graphs of one step.

    Each batch is PyG's ``Batch``, the disjoint union of the graphs, with ``x``, ``edge_index`` (ascending by
    destination), ``y``, ``batch`` and ``graph``, the ids of the graphs. Batches depend only on the plan and the step.

    Args:
        graphs: the graphs, indexed by the plan's ids.
        plan: the graphs of this rank at each step.
        **kwargs: of torch's DataLoader, such as ``num_workers`` and ``persistent_workers``.
    """

    def __init__(self, graphs: GraphSet, plan: SeedPlan, **kwargs: Any) -> None:
        self._steps = _Steps(plan)
        super().__init__(GraphDataset(graphs), batch_sampler=self._steps, **kwargs)

    def steps(self, steps: range) -> Iterator[Data]:
        """The batches of these global steps."""
        self._steps.steps = steps
        batches: Iterator[Data] = iter(self)
        return batches


class GraphDataset(Dataset[Data]):
    """The graphs by their id; their arrays are views, made on access."""

    def __init__(self, graphs: GraphSet) -> None:
        self._graphs = graphs
        self._node_ptr, self._edge_ptr = graphs.node_ptr.tolist(), graphs.edge_ptr.tolist()

    def __len__(self) -> int:
        return self._graphs.num_graphs

    def __getitem__(self, graph: int) -> Data:
        graphs, nodes, edges = self._graphs, self._node_ptr, self._edge_ptr
        return Data(
            x=graphs.x[nodes[graph] : nodes[graph + 1]],
            edge_index=graphs.edge_index[:, edges[graph] : edges[graph + 1]],
            y=graphs.y[graph : graph + 1],
            graph=graph,
        )


class _Steps(Sampler[list[int]]):
    """The graphs of each step of the next iterator."""

    def __init__(self, plan: SeedPlan) -> None:
        self._plan = plan
        self.steps = range(plan.steps_per_epoch)

    def __iter__(self) -> Iterator[list[int]]:
        return (self._plan.seeds(step).tolist() for step in self.steps)

    def __len__(self) -> int:
        return len(self.steps)


def _counts(path: Path, lowest: int, num_graphs: int) -> Integers:
    """Number of nodes or edges of each graph, [num_graphs]."""
    counts = _table(path, 1, pa.int64(), num_graphs)[:, 0]
    _refuse(path, counts < lowest, counts, f"{lowest} or more")
    return counts


def _atoms(path: Path, num_nodes: int) -> Integers:
    """Categories of each atom, [num_nodes, num_features]; OGB's atom encoder must have an entry for each."""
    from ogb.utils.features import get_atom_feature_dims  # imports pandas: seconds and memory

    sizes = np.array(get_atom_feature_dims())
    atoms = _table(path, sizes.size, pa.int64(), num_nodes)
    _require_rows(path, len(atoms), num_nodes, "the sum of num-node-list.csv.gz")
    wrong = (atoms < 0) | (atoms >= sizes)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        allowed = f"0 to {sizes[column] - 1}"
        raise InputError(f"{path}: row {row + 1}: column {column + 1} is {atoms[row, column]}; allowed: {allowed}")
    return atoms


def _bonds(path: Path, num_nodes: Integers, num_edges: Integers) -> Integers:
    """Both directions of each bond, in the order of ``GraphSet``: [2, 2 * number of bonds]."""
    bonds = _table(path, 2, pa.int64(), int(num_edges.sum()))
    _require_rows(path, len(bonds), int(num_edges.sum()), "the sum of num-edge-list.csv.gz")
    graph = np.repeat(np.arange(num_edges.size), num_edges)
    limit = num_nodes[graph]
    outside = ((bonds < 0) | (bonds >= limit[:, None])).any(1)
    if outside.any():
        row = int(outside.argmax())
        allowed = f"0 to {limit[row] - 1}, as graph {graph[row]} has {limit[row]} nodes"
        raise InputError(f"{path}: row {row + 1}: edge {bonds[row].tolist()}; allowed: {allowed}")
    _refuse(path, bonds[:, 0] == bonds[:, 1], bonds[:, 0], "two different nodes")
    source, destination = np.concatenate([bonds.T, bonds.T[::-1]], axis=1)
    order = np.lexsort((source, destination, np.tile(graph, 2)))
    return np.stack([source[order], destination[order]])


def _labels(path: Path, num_graphs: int, is_binary: bool) -> NDArray[np.float32]:
    """Labels or targets [num_graphs, num_tasks]; NaN for an empty field."""
    labels: NDArray[np.float32] = _table(path, 1, pa.float32(), num_graphs)
    if is_binary:
        _refuse(path, ~(np.isnan(labels) | (labels == 0) | (labels == 1)).all(1), labels[:, 0], "0, 1 or nothing")
    _refuse(path, np.isinf(labels[:, 0]), labels[:, 0], "a finite number or nothing")
    return labels


def _split(folder: Path, y: NDArray[np.float32], is_binary: bool) -> Iterator[Integers]:
    """Graph ids of train, valid and test, without repetition; each has both labels, which ROC-AUC needs, or targets."""
    owner = np.full(len(y), "", dtype=object)
    for split, file in SPLIT_FILES.items():
        path = folder / file
        ids = _table(path, 1, pa.int64(), len(y))[:, 0]
        _refuse(path, (ids < 0) | (ids >= len(y)), ids, f"0 to {len(y) - 1}")
        ids, rows, times = np.unique(ids, return_index=True, return_counts=True)
        twice = (times > 1) | (owner[ids] != "")
        if twice.any():
            k = int(twice.argmax())
            where = owner[ids[k]] or split
            raise InputError(f"{path}: row {rows[k] + 1}: graph {ids[k]} is in {where} too; allowed: each graph once")
        owner[ids] = split
        if np.isnan(y[ids]).all():
            raise InputError(f"{path}: no graph with a known label; allowed: splits with some")
        for label in (0, 1) if is_binary else ():
            if not (y[ids] == label).any():
                raise InputError(f"{path}: no graph with label {label}; allowed: splits with both classes")
        yield ids


def _table(path: Path, columns: int, kind: pa.DataType, expected: int) -> Any:
    """A compressed CSV file without a header, [rows, columns]; empty fields are errors if `kind` is whole.

    A file that unpacks to far more rows than expected is refused during reading.
    """
    names = [str(k + 1) for k in range(columns)]
    with reading(path), pa.CompressedInputStream(str(path), "gzip") as stream:
        batches = csv.open_csv(
            stream,
            # With a single thread, errors name the row.
            read_options=csv.ReadOptions(column_names=names, use_threads=False),
            parse_options=csv.ParseOptions(ignore_empty_lines=False),
            convert_options=csv.ConvertOptions(column_types=dict.fromkeys(names, kind)),
        )
        table = pa.Table.from_batches(limited(str(path), batches, expected), batches.schema)
    for name in names if pa.types.is_integer(kind) else ():
        if table[name].null_count:
            row = int(table[name].is_null().to_numpy().argmax())
            raise InputError(f"{path}: row {row + 1}: column {name} is empty; allowed: a whole number")
    return np.stack([column.to_numpy() for column in table.columns], axis=1)


def _pointer(counts: Integers) -> Integers:
    return np.concatenate([np.zeros(1, np.int64), counts.cumsum()])


def _require_rows(path: Path, found: int, wanted: int, why: str) -> None:
    if found != wanted:
        raise InputError(f"{path}: {found} rows; allowed: {wanted}, {why}")


def _refuse(path: Path, wrong: NDArray[np.bool_], values: NDArray[Any], allowed: str) -> None:
    """Raise InputError for the first wrong row."""
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(f"{path}: row {row + 1} is {values[row]}; allowed: {allowed}")
