"""Tables of a person's own, given to `ugts prepare`: headers, columns of ids, separators and what else people write."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tests.trials.case import case, ugts
from tests.trials.ring import EDGES, FEATURES, LABELS, NODES, RIGHT, SPLITS, prepare, prepared, write

_TABLE = pd.DataFrame(FEATURES)


def _csv(values: NDArray[Any], separator: str = ",") -> str:
    return "".join(separator.join(map(str, row)) + "\n" for row in np.atleast_2d(values.T).T.tolist())


@case(f"features.csv: the first row, 0, 1, 2, is a header .*labels.csv: the first row, 0, is a header .*{RIGHT}")
def pandas_headers(folder: Path) -> str:
    """Edges, features and labels as pandas writes them without names of columns"""
    tables = {"edges": pd.DataFrame(EDGES), "features": _TABLE, "labels": pd.DataFrame(LABELS)}
    return prepared(folder, **{part: write(folder / f"{part}.csv", table) for part, table in tables.items()})


@case(f"train.csv: the first row, 0, is a header .*test.csv: the first row, 0, is a header .*{RIGHT}")
def pandas_splits(folder: Path) -> str:
    """Splits as pandas writes them without a name"""
    return prepared(folder, **{part: write(folder / f"{part}.csv", pd.DataFrame(ids)) for part, ids in SPLITS.items()})


@case(f"exit 0: prepare ring: features prepare.*{RIGHT}")
def first_rows_that_are_rows(folder: Path) -> str:
    """Edges, labels and splits whose first rows are 0, 1 and 0 and 0, and no header"""
    parts = {"edges": EDGES, "features": FEATURES, "labels": LABELS, **SPLITS}
    return prepared(folder, **{part: write(folder / f"{part}.csv", _csv(values)) for part, values in parts.items()})


@case(f"edges.csv: the first row, 0, 1, is read as an edge; --header yes if it is a header .*{RIGHT}")
def first_edge(folder: Path) -> str:
    """Edges in a CSV file that begins with 0, 1, beside NPY files"""
    return prepared(folder, edges=write(folder / "edges.csv", _csv(EDGES)))


@case(
    r"exit 2: .*(features|labels).csv row 1: 0.* may be a row, or the header .*; allowed: --header yes or --header no"
)
def header_that_cannot_be_told(folder: Path) -> str:
    """Whole features and labels, both of which may begin with pandas' header"""
    features = write(folder / "features.csv", pd.DataFrame(np.stack([NODES, NODES % 3], axis=1)))
    return prepared(folder, features=features, labels=write(folder / "labels.csv", pd.DataFrame(LABELS)))


@case("exit 0: .*12 nodes, 2 features, first 0.00 1.00 .*11.00, classes 0101")
def header_that_is_told(folder: Path) -> str:
    """The same with --header yes and --id-column none"""
    features = write(folder / "features.csv", pd.DataFrame(np.stack([NODES, NODES % 3], axis=1)))
    labels = write(folder / "labels.csv", pd.DataFrame(LABELS))
    edges = write(folder / "edges.csv", pd.DataFrame(EDGES))
    options = ("--header", "yes", "--id-column", "none")
    return prepared(folder, *options, features=features, labels=labels, edges=edges)


@case(f"features.csv: column 'node_id' has the numbers of the nodes; each row is put at its own .*{RIGHT}")
def ids_in_any_order(folder: Path) -> str:
    """A first column node_id, rows in any order"""
    table = pd.DataFrame({"node_id": NODES, "a": FEATURES[:, 0], "b": FEATURES[:, 1], "c": FEATURES[:, 2]})
    return prepared(folder, features=write(folder / "features.csv", table.sample(frac=1, random_state=3)))


@case(f"features.npy: column 1 has the numbers of the nodes; each row is put at its own .*{RIGHT}")
def ids_in_an_array(folder: Path) -> str:
    """A first column of ids in an array of floating-point numbers, rows in any order"""
    np.save(folder / "own-features.npy", np.concatenate([NODES[:, None], FEATURES], axis=1)[::-1])
    return prepared(folder, features=folder / "own-features.npy")


@case(f"features.csv: column '' has the numbers of the nodes, in order .*{RIGHT}")
def index_of_pandas(folder: Path) -> str:
    """Features with the index of pandas"""
    return prepared(folder, features=write(folder / "features.csv", _TABLE.to_csv()))


@case(rf"features.csv: column '' not used: it is an index of pandas, beside ids .*{RIGHT}")
def index_beside_ids(folder: Path) -> str:
    """Features with a column of ids and the index of pandas, rows in any order"""
    table = _TABLE.assign(node_id=NODES).sample(frac=1, random_state=3)
    return prepared(folder, features=write(folder / "features.csv", table.to_csv()))


@case(r"exit 2: .*column 'rank' has the number of each row once.*allowed: --id-column rank, or --id-column none")
def column_that_may_be_ids(folder: Path) -> str:
    """A column that is called rank and has each of 0 to 11 once"""
    table = pd.DataFrame({"a": FEATURES[:, 0], "rank": NODES[::-1], "c": FEATURES[:, 2]})
    return prepared(folder, features=write(folder / "features.csv", table))


@case(f"exit 0: .*{RIGHT}")
def column_that_is_none(folder: Path) -> str:
    """The same with --id-column none"""
    table = pd.DataFrame({"a": FEATURES[:, 0], "rank": NODES[::-1], "c": FEATURES[:, 2]})
    return prepared(folder, "--id-column", "none", features=write(folder / "features.csv", table))


@case("exit 2: .*--id-column: 'nodeid'; allowed: the name of a column, its number, or none")
def column_that_is_not_there(folder: Path) -> str:
    """An --id-column that no table has"""
    return prepare(folder, "--id-column", "nodeid")


@case(f"exit 0: .*{RIGHT}")
def tables_with_ids_each(folder: Path) -> str:
    """Labels and a mask with columns of ids, each in an order of its own"""
    labels = pd.DataFrame({"id": NODES, "label": LABELS}).sample(frac=1, random_state=1)
    mask = pd.DataFrame({"id": NODES, "train": NODES < 6}).sample(frac=1, random_state=2)
    return prepared(folder, labels=write(folder / "labels.csv", labels), train=write(folder / "train.csv", mask))


@case(f"exit 0: .*{RIGHT}")
def snap(folder: Path) -> str:
    """Edges as SNAP writes them: comments, then numbers separated by tabs, in a .txt"""
    comments = "# Directed graph\n# Nodes: 12 Edges: 12\n# FromNodeId\tToNodeId\n"
    return prepared(folder, edges=write(folder / "edges.txt", comments + _csv(EDGES, "\t")))


@case(r"exit 2: .*edges.txt row 1: spaces around the fields, or several between them; allowed: one between fields")
def aligned(folder: Path) -> str:
    """Edges in columns that spaces align"""
    return prepare(folder, edges=write(folder / "edges.txt", "".join(f" {a:>3} {b:>3}\n" for a, b in EDGES)))


@case(f"exit 0: .*{RIGHT}")
def split_with_index(folder: Path) -> str:
    """A split of node ids beside the index of pandas"""
    return prepared(folder, train=write(folder / "train.csv", pd.DataFrame({"node": NODES[5::-1]}).to_csv()))


@case(f"exit 0: .*{RIGHT}")
def packed(folder: Path) -> str:
    """The same as .txt.gz, and features as .tsv"""
    comments = "# FromNodeId\tToNodeId\n"
    edges = write(folder / "edges.txt.gz", gzip.compress((comments + _csv(EDGES, "\t")).encode()))
    return prepared(folder, edges=edges, features=write(folder / "features.tsv", _csv(FEATURES, "\t")))


@case(f"exit 0: .*{RIGHT}")
def masks_of_numbers(folder: Path) -> str:
    """Masks of 0 and 1: uint8 in NPY, and in a CSV"""
    np.save(folder / "mask.npy", (NODES < 6).astype(np.uint8))
    valid = write(folder / "valid.csv", _csv(((NODES >= 6) & (NODES < 9)).astype(int)))
    return prepared(folder, train=folder / "mask.npy", valid=valid)


@case(f"exit 0: .*{RIGHT}")
def masks_of_words(folder: Path) -> str:
    """Masks of True and False in a CSV, with a header and without"""
    train = write(folder / "train.csv", pd.DataFrame({"train": NODES < 6}))
    return prepared(folder, train=train, valid=write(folder / "valid.csv", _csv((NODES >= 6) & (NODES < 9))))


@case(r"edges.csv: column 'weight' has the weights of the edges; --edge-weight none leaves it out .*" + RIGHT)
def weights(folder: Path) -> str:
    """Edges with weights"""
    table = pd.DataFrame({"source": EDGES[:, 0], "target": EDGES[:, 1], "weight": np.abs(FEATURES[:, 2])})
    return prepared(folder, edges=write(folder / "edges.csv", table))


@case(f"exit 0: .*{RIGHT}")
def columns_in_another_order(folder: Path) -> str:
    """Edges whose header names the destination first"""
    table = pd.DataFrame({"dst": EDGES[:, 1], "src": EDGES[:, 0]})
    return prepared(folder, edges=write(folder / "edges.csv", table))


@case(f"exit 0: .*{RIGHT}")
def european(folder: Path) -> str:
    """Semicolons, decimal commas, a byte order mark, quotes, and line ends of Windows"""
    rows = "".join(";".join(f'"{value}"' for value in row).replace(".", ",") + "\r\n" for row in FEATURES.tolist())
    return prepared(folder, features=write(folder / "features.csv", "\ufeffa;b;c\r\n" + rows))


@case(r"exit 2: .*features.csv row 6: no value in column 2; allowed: numbers")
def missing_value(folder: Path) -> str:
    """A feature that is missing"""
    rows = [[str(value) for value in row] for row in FEATURES.tolist()]
    rows[4][1] = ""
    text = "a,b,c\n" + "".join(",".join(row) + "\n" for row in rows)
    return prepare(folder, features=write(folder / "features.csv", text))


@case(r"exit 2: .*edges.txt: is no UTF-8 text")
def utf_16(folder: Path) -> str:
    """Edges in UTF-16, as a spreadsheet writes them"""
    return prepare(folder, edges=write(folder / "edges.txt", _csv(EDGES, "\t").encode("utf-16")))


@case(r"exit 2: .*labels.csv row 3: column 1 is not UTF-8; save it as UTF-8")
def latin_1(folder: Path) -> str:
    """Names of classes in Latin-1"""
    return prepare(folder, labels=write(folder / "labels.csv", b"label\n" + b"b\nna\xefve\n" * 6))


@case(
    r"labels.npy: 19999999 of the classes 0 to 20000000 have no nodes; left are 2 classes: 0, 20000000; .*called 0, 2"
)
def huge_labels(folder: Path) -> str:
    """Labels 0 and 20,000,000"""
    np.save(folder / "own-labels.npy", LABELS * 20_000_000)
    return prepared(folder, labels=folder / "own-labels.npy")


@case(r"labels.npy: 1 of the classes 0 to 2 have no nodes; left are 2 classes: 1, 2; .*classes 0101.*called 1, 2")
def labels_from_1(folder: Path) -> str:
    """Labels that begin at 1"""
    np.save(folder / "own-labels.npy", LABELS + 1)
    return prepared(folder, labels=folder / "own-labels.npy")


@case(r"exit 2: .*--out is .*x.xlsx, allowed are names that end in .parquet or .csv")
def ending_of_predictions(folder: Path) -> str:
    """Predictions into a file of another kind"""
    return ugts("predict", "none.ticket", "--out", folder / "x.xlsx").told
