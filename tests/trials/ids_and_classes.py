"""Nodes and classes that have names of their own: from `ugts prepare` through training to predictions."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pyarrow import csv, parquet

from tests.trials.case import case, ugts
from tests.trials.ring import EDGES, FEATURES, IDS, LABELS, NODES, RIGHT, WORDS, prepare, prepared, write

_SPARSE = [int(node) for node in NODES * 37 % 101 + 1_000_000]


def _files(folder: Path, ids: Sequence[str | int], labels: Sequence[str | int]) -> dict[str, Path]:
    """Edges, features and labels by these ids, the last two in orders of their own."""
    columns = {"id": ids, "a": FEATURES[:, 0], "b": FEATURES[:, 1], "c": FEATURES[:, 2]}
    pd.DataFrame(columns).to_parquet(folder / "features.parquet")
    table = pd.DataFrame({"id": ids, "label": labels}).sample(frac=1, random_state=1)
    ends = pd.DataFrame({"src": [ids[a] for a, _ in EDGES], "dst": [ids[b] for _, b in EDGES]})
    return {
        "edges": write(folder / "edges.csv", ends),
        "features": folder / "features.parquet",
        "labels": write(folder / "labels.csv", table),
        "train": write(folder / "train.csv", pd.DataFrame({"node": ids[:6]})),
        "valid": write(folder / "valid.csv", pd.DataFrame({"node": ids[6:9]})),
        "test": write(folder / "test.csv", pd.DataFrame({"node": ids[9:]})),
    }


def _trained(folder: Path) -> None:
    """A run of two epochs on the store."""
    with contextlib.redirect_stderr(io.StringIO()):
        options = ("--model.width", "4", "--run.epochs", "2", "--log.to", "--log.no-progress")
        told = ugts("train", "--data.name", folder / "store", "--run.folder", folder / "run", *options)
    assert told.code == 0, told.err


def _predicted(folder: Path, name: str, *options: str | Path) -> str:
    """The nodes, the classes that may be predicted, and the names of the columns."""
    told = ugts("predict", folder / "run", "--out", folder / name, *options)
    if told.code:
        return told.told
    table = parquet.read_table(folder / name) if name.endswith(".parquet") else csv.read_csv(folder / name)
    nodes = table["node"].to_pylist()
    return f"nodes {nodes[0]!r} {nodes[1]!r} ... {nodes[-1]!r}, {', '.join(table.column_names[2:])}, " + "".join(
        f"{kind} " for kind in sorted({type(value).__name__ for value in table["prediction"].to_pylist()})
    )


_WORDS_PREDICTED = r"nodes 'user_000' 'user_037' ... 'user_003', p_cat, p_dog, str"


@case(
    r"features.parquet: column 'id' has the ids of 12 nodes.*labels.csv: 2 classes: cat, dog.*called cat, dog "
    rf".*{_WORDS_PREDICTED} .*{_WORDS_PREDICTED}"
)
def words(folder: Path) -> str:
    """Ids and classes that are words: prepared, trained, predicted as CSV and as Parquet"""
    told = prepared(folder, **_files(folder, IDS, WORDS))
    _trained(folder)
    return f"{told} | {_predicted(folder, 'out.csv')} | {_predicted(folder, 'out.parquet')}"


@case(rf"column 'id' has the ids of 12 nodes.*{RIGHT}.*nodes 1000000 1000037 ... 1000003, p_5, p_7, int")
def sparse_numbers(folder: Path) -> str:
    """Ids such as 1000037, and classes 5 and 7"""
    told = prepared(folder, **_files(folder, _SPARSE, (2 * LABELS + 5).tolist()))
    _trained(folder)
    return f"{told} | {_predicted(folder, 'out.csv')}"


@case(r"nodes 'a' 'b' ... 'l', p_cat, p_dog, str")
def another_graph(folder: Path) -> str:
    """Predictions for another store, which has other ids"""
    prepare(folder, **_files(folder, IDS, WORDS))
    _trained(folder)
    (folder / "other").mkdir()
    prepare(folder / "other", **_files(folder / "other", list("abcdefghijkl"), WORDS))
    return _predicted(folder, "out.csv", "--graph", folder / "other" / "store")


@case(
    r"exit 0: .*store: ring, 12 nodes, .* no labels, no split: for prediction and links only.* "
    r"exit 2: .*ring: has no labels and no split, .*--labels FILE.*--split-random 60/20/20.* "
    r"nodes 'a' 'b' ... 'l', p_cat, p_dog, str"
)
def no_labels(folder: Path) -> str:
    """A store of edges and features: it can't be trained on, and is predicted with the classes of the training graph"""
    prepare(folder, **_files(folder, IDS, WORDS))
    _trained(folder)
    (folder / "other").mkdir()
    files = _files(folder / "other", list("abcdefghijkl"), WORDS)
    other = folder / "other" / "store"
    told = ugts("prepare", "ring", "--edges", files["edges"], "--features", files["features"], "--out", other).told
    refused = ugts("train", "--data.name", other, "--run.folder", folder / "none").told
    return f"{told} {refused} {_predicted(folder, 'out.csv', '--graph', other)}"


@case(r"exit 0: .*ids.csv: column 1 has the ids of 12 nodes.*called cat, dog")
def ids_in_a_file(folder: Path) -> str:
    """Features and classes in order, and --ids"""
    files = _files(folder, IDS, WORDS)
    del files["features"]
    labels = write(folder / "words.csv", "".join(f"{word}\n" for word in WORDS))
    ids = write(folder / "ids.csv", "".join(f"{name}\n" for name in IDS))
    return prepared(folder, **(files | {"labels": labels, "ids": ids}))


@case(
    r"edges.npy: has numbers, read as those of the rows of .*features.parquet, from 0 .*"
    r"edges 0-1 1-2 .* splits 0-5 6-8 9-11, called cat, dog"
)
def numbers_of_rows(folder: Path) -> str:
    """Ids that are words, beside edges and splits that number the rows"""
    files = _files(folder, IDS, WORDS)
    labels = pd.DataFrame({"id": IDS, "label": WORDS})
    return prepared(folder, features=files["features"], labels=write(folder / "labels.csv", labels))


@case(r"exit 2: .*npy: has numbers of rows, but those of .*labels.csv and .* have different orders; allowed: ")
def numbers_of_rows_in_two_orders(folder: Path) -> str:
    """The same where features and labels have orders of their own"""
    files = _files(folder, IDS, WORDS)
    return prepare(folder, features=files["features"], labels=files["labels"])


@case(r"exit 2: .*labels.npy: has no column of ids, and .*features.parquet has; allowed: ids in both, or --ids")
def ids_in_one_table(folder: Path) -> str:
    """Ids in the features alone"""
    files = _files(folder, IDS, WORDS)
    del files["labels"]
    return prepare(folder, **files)


@case(r"exit 2: .*edges.csv row 13: id 'nobody' in column 'dst'; allowed: the ids in .*features.parquet")
def unknown_id(folder: Path) -> str:
    """An edge to a node that is not there"""
    files = _files(folder, IDS, WORDS)
    text = files["edges"].read_text().splitlines()
    write(files["edges"], "\n".join([*text[:12], "user_000,nobody", *text[12:]]) + "\n")
    return prepare(folder, **files)


@case(r"exit 2: .*edges.csv: has words for nodes; allowed: numbers from 0 on, or ids")
def words_without_ids(folder: Path) -> str:
    """Edges of words, and no ids"""
    return prepare(folder, edges=_files(folder, IDS, WORDS)["edges"])


@case(r"exit 2: .*features.csv row 13: id 'user_000' in column 'id' for the second time; allowed: each id once")
def repeated_id(folder: Path) -> str:
    """An id that is there twice"""
    files = _files(folder, IDS, WORDS)
    table = pd.DataFrame({"id": [*IDS[:11], IDS[0]], "a": FEATURES[:, 0]})
    return prepare(folder, **(files | {"features": write(folder / "features.csv", table)}))


@case(r"labels.csv: 3 of 12 nodes have no row, and so no label .*classes 0101")
def nodes_without_labels(folder: Path) -> str:
    """Labels for some of the nodes"""
    files = _files(folder, IDS, WORDS)
    table = pd.DataFrame({"id": IDS[:9], "label": WORDS[:9]})
    valid, test = (pd.DataFrame({"node": ids}) for ids in (IDS[6:8], IDS[8:9]))
    files |= {"valid": write(folder / "valid.csv", valid), "test": write(folder / "test.csv", test)}
    labels = ["a" if word == "dog" else "b" for word in table["label"]]
    return prepared(folder, **(files | {"labels": write(folder / "labels.csv", table.assign(label=labels))}))


@case(r"exit 0: .*ring, 12 nodes, 12 edges, 3 features \(float32\), 2 labels at once, .*")
def labels_of_two_columns(folder: Path) -> str:
    """Labels of two columns of 0 and 1, neither of which has ids: two labels of each node"""
    return prepare(folder, labels=write(folder / "labels.csv", pd.DataFrame({"p": LABELS, "q": np.flip(LABELS)})))
