"""Datasets by name: where their raw files are, and how a name becomes a checked Graph."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from torch import Tensor

from ugts_dist.errors import InputError, did_you_mean
from ugts_dist.graphs import digits, npz, ogb_binary, ogb_nodes, planetoid, synthetic_config, webkb
from ugts_dist.graphs.dataset import Dataset
from ugts_dist.graphs.files import download, missing
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.store import is_store, open_store
from ugts_dist.graphs.store_files import META, read_meta

# The datasets, by name.
DATASETS: dict[str, Callable[[str], Dataset]] = {
    **dict.fromkeys(planetoid.FOLDERS, planetoid.dataset),
    **dict.fromkeys(webkb.NAMES, webkb.dataset),
    **dict.fromkeys(npz.FILES, npz.dataset),
    "digits": digits.dataset,
}
NAMES = tuple(DATASETS)
DATA_VARIABLE = "UGTS_DATA"
DEFAULT_ROOT = "~/.cache/ugts_dist/data"
PREPARED = (*ogb_nodes.DATASETS, *ogb_binary.DATASETS, *synthetic_config.PRESETS)
STORES_VARIABLE = "UGTS_STORES"
DEFAULT_STORES = "~/.cache/ugts_dist/stores"


def load(
    name: str, root: str | Path | None = None, split: int = 0, row_normalize: bool = True, shares: bool = False
) -> Graph:
    """Load one of ``NAMES``, or open the store of a prepared graph by its name or the path of its folder.

    The raw files are read from ``root``, or from the folder in the variable UGTS_DATA; both are only read. Without
    either they are in ~/.cache/ugts_dist/data, and missing ones are downloaded. ``split`` is the number of a published
    or drawn split (for Planetoid's graphs 0 is the public one). ``row_normalize`` scales the features of each node to
    the sum 1, as PyG's NormalizeFeatures does.

    A store keeps the split and features of ``ugts prepare``: ``row_normalize`` and ``root`` have no effect, and another
    ``split`` is an error. Its tensors are mapped read-only. ``shares``: as in ``open_store``. Raises InputError.
    """
    if (store := store_folder(name)) is not None:
        return _stored(store, split, shares)
    dataset = DATASETS[name](name)
    num_splits = dataset.num_splits
    if split < 0 or (num_splits is not None and split >= num_splits):
        allowed = "0 or more" if num_splits is None else f"0 to {num_splits - 1}"
        raise InputError(f"data.split: {split} is not a split of {name}; allowed: {allowed}")
    graph = dataset.read(_folder(name, dataset, root), name, split)
    return replace(graph, x=row_normalized(_from_zero(graph.x))) if row_normalize else graph


def data_root(root: str | Path | None) -> Path:
    """The folder of the raw files: ``root``, that of UGTS_DATA, or the one for downloads."""
    return Path(root if root is not None else os.environ.get(DATA_VARIABLE) or DEFAULT_ROOT).expanduser()


def stores_folder() -> Path:
    """The folder of prepared graphs: that of UGTS_STORES, or one in ~/.cache."""
    return Path(os.environ.get(STORES_VARIABLE) or DEFAULT_STORES).expanduser()


def refuse_unknown(field: str, name: str, others: str) -> NoReturn:
    """Raise the InputError for a name that is not a dataset; ``others`` says what else is allowed."""
    names = (*NAMES, *PREPARED)
    meant = did_you_mean(name, names)
    raise InputError(f"{field}: {name!r} is not a dataset{meant}; allowed: {', '.join(names)}, {others}")


def store_folder(name: str) -> Path | None:
    """The folder of the store with this name; None for a dataset that is read from raw files.

    ``name`` is a path if it has a separator or is the folder of a store. Raises InputError for an unknown name.
    """
    if name in NAMES:
        return None
    folder = Path(name).expanduser()
    if not (os.sep in name or is_store(folder)):
        folder = stores_folder() / name
        if not is_store(folder):
            if name in PREPARED:
                raise InputError(f"data.name: {name} is not in {_stores_text()}; run `ugts prepare {name}` first")
            refuse_unknown("data.name", name, f"the name of a store in {_stores_text()}, or a store's path")
    if not is_store(folder):
        options = "--data.name of train, --graph of evaluate, predict and analyse"
        raise InputError(
            f"data.name: {os.path.abspath(folder)} is no graph store ({META} is missing); if it has been moved, say "
            f"where it is now: {options}"
        )
    return folder


def _stored(folder: Path, split: int, shares: bool) -> Graph:
    stored = read_meta(folder).origin.get("split", 0)
    if split not in (0, stored):
        allowed = f"{stored}, which it was prepared with" if stored else "0"
        raise InputError(f"data.split: {split} is not the split of the store {folder}; allowed: {allowed}")
    return open_store(folder, shares=shares)


def absolute_name(name: str) -> str:
    """The absolute path of a store that only some working directories find; any other name as it is.

    Such stores are given by a relative path, are in the working directory, or in a relative UGTS_STORES.
    """
    if name in NAMES:
        return name
    if os.sep in name or is_store(Path(name).expanduser()):
        return os.path.abspath(os.path.expanduser(name))
    folder = stores_folder() / name
    return name if folder.is_absolute() or not is_store(folder) else os.path.abspath(folder)


def _stores_text() -> str:
    variable = os.environ.get(STORES_VARIABLE)
    return os.path.abspath(stores_folder()) + (f" ({STORES_VARIABLE} is {variable!r})" if variable else "")


def without_path(name: str) -> str:
    """Check a name from a file that need not be trusted: a dataset, or a store of this machine.

    Paths and stores in the working directory are not allowed. Raises InputError for any other name.
    """
    if name in NAMES:
        return name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise InputError(f"data.name: {name[:99]!r} is no plain name")
    folder = stores_folder() / name
    if name not in PREPARED and not is_store(folder):
        refuse_unknown("data.name", name, f"the name of a store in {_stores_text()}")
    return str(folder) if is_store(Path(name)) else name


def raw_files(name: str) -> tuple[str, tuple[str, ...]]:
    """The folder of a dataset below the root, and the names of its raw files; an embedded dataset has none."""
    dataset = DATASETS[name](name)
    return dataset.folder, tuple(dataset.urls)


def _folder(name: str, dataset: Dataset, root: str | Path | None) -> Path:
    """The folder with all raw files of the dataset. They are downloaded into the default folder only."""
    given = root if root is not None else os.environ.get(DATA_VARIABLE) or None
    folder = data_root(given) / dataset.folder
    absent = missing(folder, tuple(dataset.urls))
    if absent and given is None:
        download(name, folder, {file: dataset.urls[file] for file in absent})
    elif absent:
        origin = "data.root" if root is not None else DATA_VARIABLE
        raise InputError(
            f"{origin}: {name} needs {', '.join(absent)} in {os.path.abspath(folder)}; put them there, or name another "
            "folder: --data.root of train, --root of evaluate, predict and analyse"
        )
    return folder


def row_normalized(x: Tensor) -> Tensor:
    """Scale each row of numbers from 0 on with a sum above 1 to the sum 1; zeros stay zero.

    In place, because the features of the larger datasets take gigabytes.
    """
    return x.div_(x.sum(dim=-1, keepdim=True).clamp_(min=1.0))


def _from_zero(x: Tensor) -> Tensor:
    """The features less the lowest of all, in place. PyG's NormalizeFeatures is this before ``row_normalized``."""
    lowest = x.min()
    return x if float(lowest) == 0.0 else x.sub_(lowest)
