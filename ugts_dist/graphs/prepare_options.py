"""The options of `ugts prepare`. This module imports nothing heavy, so that its help answers at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class PrepareOptions:
    """Turn a graph into a store: arrays that every process of a machine maps into memory instead of loading them.

    NAME is a dataset (`ugts prepare cora`), an OGB graph whose archive is unpacked (`ugts prepare ogbn-arxiv --root
    DATA`), a synthetic one (`ugts prepare products-like --scale 0.1`), or any name for your own: `ugts prepare mygraph
    --edges edges.csv --features x.npy --labels y.npy --train train.npy --valid valid.npy --test test.npy`, or
    `ugts prepare mygraph --data graph.pt`. `ugts train --data.name NAME` opens a store in the default folder. Edges and
    features alone are enough for `ugts predict TICKET --graph NAME`, and for link prediction (task.kind link).
    """

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")]
    """A name of `data.name`, ogbn-arxiv, ogbn-products, ogbn-papers100M, arxiv-structure (ogbn-arxiv with 128 features
    computed from its edges: singular vectors), arxiv-like, products-like, papers100M-like, or any new name."""
    out: str = ""
    """Folder of the store; must not exist. Empty: NAME in $UGTS_STORES; if that is not set, in
    ~/.cache/ugts_dist/stores."""
    verify: bool = False
    """Prepare nothing: compare all files of an existing store with their checksums.

    Only this detects a feature, label or edge that changed into another valid one.
    """
    share: str = ""
    """Cut a whole store, NAME or its folder, for one of N hosts: I/N, such as 2/3. --out gets the features of the I-th
    of N equal parts of the nodes, and everything else. The hosts train with --batch.placement sharded."""
    root: str = ""
    """Folder of a dataset's raw files, which are only read. Empty: $UGTS_DATA; if that is not set,
    ~/.cache/ugts_dist/data."""
    split: int = 0
    """Split of a dataset (as data.split), or column of the masks of --data."""
    row_normalize: Literal["auto", "yes", "no"] = "auto"
    """Divide each node's features by their sum if that exceeds 1. auto: for the names of data.name only."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the features in the store. bfloat16 takes half the space and has 8 bits of precision."""
    scale: float = 1.0
    """Synthetic graphs: fraction of the nodes, edges and split."""
    seed: int = 0
    """Synthetic graphs: seed of the graph. With --split-random: seed of the split."""
    edges: str = ""
    """Your graph: a table with source and destination of each edge. Tables are .npy, .parquet, or .csv, .tsv and .txt,
    also with .gz, with commas, semicolons, tabs or spaces between fields."""
    edge_weight: str = ""
    """Your graph: the column of --edges with the weight of each edge, 0 or more: its name, its number from 1 on, or
    none; or a table of its own with a row for each edge. Empty: a column with a usual name (weight, edge_weight). With
    --data: none, or empty for what the Data has."""
    edge_features: tuple[str, ...] = ()
    """Your graph: columns of --edges with numbers, by name or number, or a table with a row for each edge. With
    --data: none, or empty for what the Data has."""
    features: str = ""
    """Your graph: a table with a row of numbers for each node."""
    labels: str = ""
    """Your graph: a table with the class of each node, as number or name. Negative, or an empty name: no label. Or with
    numbers: several columns, or one with fractions, are labels of 0 and 1 at once, or targets; empty fields are
    unknown. Empty: no node has a label, and the store is for `ugts predict` and task.kind link only."""
    label_columns: tuple[str, ...] = ()
    """Your graph: columns of --labels, by name or number. --labels may then be the file of --features, too. Empty: all
    columns except the ids."""
    numbers: bool = False
    """Your graph: whole numbers in one column of labels, or in y of --data, are targets. Without this option they are
    classes."""
    train: str = ""
    """Your graph: a table with the ids of the training nodes, or with true and false (or 1 and 0) for each node. Empty,
    as for --valid and --test: no split, and the store is for `ugts predict` and task.kind link only."""
    valid: str = ""
    """Your graph: validation nodes."""
    test: str = ""
    """Your graph: test nodes."""
    split_random: str = ""
    """Your graph, instead of --train, --valid and --test or the masks of --data: draw a split at random. Percentages of
    the labelled nodes for training, validation and test, such as 60/20/20. meta.json of the store keeps them and the
    seed."""
    ids: str = ""
    """Your graph: a table with the id of each node, numbers or words, in the row order of tables without ids. Empty:
    the ids in the features or labels, or 0, 1, 2, ... if there are none."""
    id_column: str = ""
    """Your graph: the column with the nodes' ids in the tables: its name, its number from 1 on, or none. Empty: a
    column with a usual name (id, node_id, ...), or one that has each of 0 to N - 1 once."""
    header: Literal["auto", "yes", "no"] = "auto"
    """Your graph: whether text files begin with column names. auto: yes if the first row has words, or if pandas'
    0, 1, 2, ... would be a row too many."""
    data: str = ""
    """Your graph: a PyG Data with x, edge_index, y and train_mask, val_mask, test_mask, saved by torch.save. Without
    masks, or without y and masks, the store is for `ugts predict` and task.kind link only."""
    undirected: bool = False
    """Your graph: add the reverse of each edge."""
    num_classes: int = 0
    """Your graph: number of classes, some of which may have no nodes. 0: number of classes with nodes."""
