"""Datasets by name: where their raw files lie, and how a name becomes a checked Graph."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor
from torch_geometric.datasets import Amazon, Coauthor, Planetoid, WebKB

from ugts_dist.errors import InputError
from ugts_dist.graphs import digits, npz, planetoid, webkb
from ugts_dist.graphs.files import download, missing
from ugts_dist.graphs.graph import Graph

NAMES = (*planetoid.FOLDERS, *webkb.NAMES, *npz.FILES, "digits")
DATA_VARIABLE = "UGTS_DATA"
DEFAULT_ROOT = "~/.cache/ugts_dist/data"


@dataclass(frozen=True)
class _Raw:
    """The raw files of a dataset: folder below the root, address of each file, and what reads them."""

    folder: str
    urls: dict[str, str]
    read: Callable[[Path, str, int], Graph]
    num_splits: int | None  # None: a split is drawn for every number


def load(name: str, root: str | Path | None = None, split: int = 0, row_normalize: bool = True) -> Graph:
    """Load a dataset by its name, one of ``NAMES``.

    The raw files are looked for in ``root``, else in the folder that the variable UGTS_DATA names: both are
    only read. Without either, they are kept in ~/.cache/ugts_dist/data, and downloaded where they are
    missing. ``split`` chooses one of the published splits, or is the number of a drawn one; ``row_normalize``
    scales the features of each node to the sum 1, as PyG's NormalizeFeatures. Raises InputError.
    """
    if name not in NAMES:
        close = difflib.get_close_matches(name.lower(), NAMES)
        hint = f" (did you mean {' or '.join(close)}?)" if close else ""
        raise InputError(f"data.name: {name!r} is not a dataset{hint}; allowed: {', '.join(NAMES)}")
    raw = None if name == "digits" else _raw(name)
    num_splits = None if raw is None else raw.num_splits
    if split < 0 or (num_splits is not None and split >= num_splits):
        allowed = "0 or more" if num_splits is None else f"0 to {num_splits - 1}" if num_splits > 1 else "0"
        raise InputError(f"data.split: {split} is not a split of {name}; allowed: {allowed}")
    graph = digits.read(name, split) if raw is None else raw.read(_folder(name, raw, root), name, split)
    return replace(graph, x=_row_normalized(graph.x)) if row_normalize else graph


def _raw(name: str) -> _Raw:
    if name in planetoid.FOLDERS:
        urls = {file: f"{Planetoid.url}/{file}" for file in planetoid.file_names(name)}
        return _Raw(f"planetoid/{planetoid.FOLDERS[name]}/raw", urls, planetoid.read, num_splits=1)
    if name in webkb.NAMES:
        urls = {file: f"{WebKB.url}/new_data/{name}/{file}" for file in (webkb.FEATURES, webkb.EDGES)}
        urls |= {file: f"{WebKB.url}/splits/{file}" for file in webkb.split_names(name)}
        return _Raw(f"webkb/{name}/raw", urls, webkb.read, webkb.NUM_SPLITS)
    source, graph = name.split("-")
    url = {"amazon": Amazon.url, "coauthor": Coauthor.url}[source]
    folder = "CS" if graph == "cs" else graph.capitalize()
    urls = {npz.FILES[name]: url + npz.FILES[name]}
    return _Raw(f"{source}/{folder}/raw", urls, npz.read, num_splits=None)


def _folder(name: str, raw: _Raw, root: str | Path | None) -> Path:
    """The folder that has all raw files of the dataset; they are downloaded into the default one only."""
    given = root if root is not None else os.environ.get(DATA_VARIABLE) or None
    folder = Path(DEFAULT_ROOT if given is None else given).expanduser() / raw.folder
    absent = missing(folder, tuple(raw.urls))
    if absent and given is None:
        download(name, folder, {file: raw.urls[file] for file in absent})
    elif absent:
        origin = "data.root" if root is not None else DATA_VARIABLE
        raise InputError(
            f"{origin}: {name} needs {', '.join(absent)} in {folder}; put them there, or name another folder"
        )
    return folder


def _row_normalized(x: Tensor) -> Tensor:
    """Scale each row to the sum 1 where it is more than 1, as PyG's NormalizeFeatures; zeros stay zero.

    Works in place, because the features of the larger datasets take gigabytes.
    """
    lowest = x.min()
    if float(lowest) != 0.0:
        x.sub_(lowest)
    return x.div_(x.sum(dim=-1, keepdim=True).clamp_(min=1.0))
