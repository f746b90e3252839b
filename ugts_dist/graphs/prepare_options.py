"""The options of `ugts prepare`. Nothing heavy is imported here, so that its help answers at once."""

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
    `ugts prepare mygraph --data graph.pt`. `ugts train --data.name NAME` opens what lies in the default folder.
    """

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")]
    """A name of `data.name`, ogbn-arxiv, ogbn-products, arxiv-structure (ogbn-arxiv with 128 features that are made of
    its edges: singular vectors), arxiv-like, products-like, or any new one."""
    out: str = ""
    """Folder of the store; must not exist. Empty: NAME in $UGTS_STORES, or else in ~/.cache/ugts_dist/stores."""
    verify: bool = False
    """Prepare nothing: compare all files of a store that exists with their checksums.

    Only this finds a feature, label or edge that changed into another valid one."""
    root: str = ""
    """Folder with the raw files of a dataset, only read. Empty: $UGTS_DATA, or else ~/.cache/ugts_dist/data."""
    split: int = 0
    """Which split of a dataset (as data.split), or which column of the masks of --data."""
    row_normalize: Literal["auto", "yes", "no"] = "auto"
    """Divide each node's features by their sum, where that is above 1; auto: the names of data.name only."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """How features are kept; bfloat16 takes half the space and has 8 bits of precision."""
    scale: float = 1.0
    """Synthetic graphs: the fraction of the nodes, edges and split."""
    seed: int = 0
    """Synthetic graphs: another seed, another graph."""
    edges: str = ""
    """Your graph: a table with source and destination of each edge. Tables are .npy, .parquet, or .csv, .tsv and .txt,
    also with .gz, whose fields are separated by commas, semicolons, tabs or spaces."""
    features: str = ""
    """Your graph: a table with a row of numbers for each node."""
    labels: str = ""
    """Your graph: a table with the class of each node, by number or by name. Negative, or an empty name: no label."""
    train: str = ""
    """Your graph: a table with the ids of the training nodes, or with true and false (or 1 and 0) for each node."""
    valid: str = ""
    """Your graph: validation nodes."""
    test: str = ""
    """Your graph: test nodes."""
    ids: str = ""
    """Your graph: a table with the id of each node, numbers or words, in the order of the rows of tables without a
    column of ids. Empty: the ids in the features or labels, if there are any, else 0, 1, 2, ..."""
    id_column: str = ""
    """Your graph: the column of the tables that has the nodes' ids: its name, its number from 1 on, or none. Empty: one
    that is called so (id, node_id, ...), or has each of 0 to N - 1 once."""
    header: Literal["auto", "yes", "no"] = "auto"
    """Your graph: whether text files begin with the names of their columns; auto: where these are words, or where
    pandas' 0, 1, 2, ... would be a row too many."""
    data: str = ""
    """Your graph: a PyG Data with x, edge_index, y and train_mask, val_mask, test_mask, saved by torch.save."""
    undirected: bool = False
    """Your graph: add the opposite of each edge."""
    num_classes: int = 0
    """Your graph: number of classes, some of which may have no nodes. 0: those that have."""
