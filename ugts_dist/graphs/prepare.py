"""`ugts prepare`: convert a known dataset or your own graph into a store."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from ugts_dist.errors import InputError
from ugts_dist.graphs import (
    catalogue,
    molecules,
    ogb_binary,
    ogb_nodes,
    own,
    pyg_data,
    pyg_fields,
    synthetic,
    synthetic_config,
)
from ugts_dist.graphs.column_notes import column_notes
from ugts_dist.graphs.edge_options import EdgeOptions
from ugts_dist.graphs.files import within_memory
from ugts_dist.graphs.label_numbers import Numbers
from ugts_dist.graphs.label_options import LabelOptions
from ugts_dist.graphs.label_words import labels_in_words
from ugts_dist.graphs.own_tables import TableOptions
from ugts_dist.graphs.prepare_options import PrepareOptions
from ugts_dist.graphs.progress import show_progress
from ugts_dist.graphs.random_split import RandomSplit
from ugts_dist.graphs.raw import RawGraph, write_raw
from ugts_dist.graphs.share_store import parse_share, write_share
from ugts_dist.graphs.splits import SPLITS
from ugts_dist.graphs.store import open_store, verify_store
from ugts_dist.graphs.store_check import CHECKED
from ugts_dist.graphs.store_files import META
from ugts_dist.graphs.store_writer import Origin, write_store

_log = logging.getLogger(__name__)

Progress = Callable[[str, float], None]

_NEEDED = ("edges", "features")
_PARTS = (*_NEEDED, "labels", *SPLITS)
_TABLES = ("ids", "id_column", "header", "label_columns")
_EDGES = ("edge_weight", "edge_features")
_OWN = (*_PARTS, *_TABLES, *_EDGES, "data", "undirected", "num_classes", "numbers", "split_random")
_DATASETS = (*catalogue.NAMES, *catalogue.PREPARED, *molecules.FOLDERS)
# arxiv-structure had to be prepared from one's own files before it was a dataset, which is still allowed.
_TAKEN = tuple(name for name in _DATASETS if name != ogb_nodes.STRUCTURE)
_SYNTHETIC = ("scale", "seed")


def prepare(options: PrepareOptions) -> str:
    """Write the store, or a share of one, or verify it. Returns a line about it. Raises InputError."""
    if options.share:
        return summary(_write_share(options))
    _check_name(options)
    if options.verify:
        folder = _folder(options)
        is_whole = verify_store(folder)
        rest = "" if is_whole else f" but {META}'s, which has none and can't be verified: an older version wrote it"
        return f"{summary(folder)}, all checksums right{rest}"
    with within_memory(f"prepare {options.name}"), show_progress(f"prepare {options.name}") as progress:
        return summary(_write(options, progress))


def summary(folder: Path) -> str:
    """Contents of a store, in one line."""
    graph = open_store(folder, shares=True)
    labels = labels_in_words(graph)
    use = "" if graph.has_split else ", no split: for prediction and links only"
    size = sum(path.stat().st_size for path in folder.iterdir() if path.name != CHECKED)
    part = "" if graph.share is None else f" of nodes {graph.share.start:,} to {graph.share.stop - 1:,}"
    size -= 0 if graph.share is None else (graph.num_nodes - graph.share.num_nodes) * graph.x[0].nbytes
    dtype = str(graph.x.dtype).removeprefix("torch.")
    edges = f"{graph.num_edges:,} edges"
    edges += " with weights" if graph.edge_weight is not None else ""
    edges += "" if graph.edge_attr is None else f" with {graph.edge_attr.size(1)} features"
    return (
        f"{folder}: {graph.name}, {graph.num_nodes:,} nodes, {edges}, {graph.num_features} features "
        f"({dtype}){part}, {labels}{use}, {size:,} bytes"
    )


def _write_share(options: PrepareOptions) -> Path:
    _refuse(
        options,
        [field.name for field in dataclasses.fields(options) if field.name not in ("name", "out", "share")],
        f"--share {options.share}, which cuts a store",
    )
    store = catalogue.store_folder(options.name)
    if store is None or not options.out:
        raise InputError(
            f"--share: {options.share} of {options.name}; allowed: with the name or folder of a store, and --out"
        )
    folder = _new_folder(options)
    write_share(store, folder, *parse_share(options.share))
    return folder


def _write(options: PrepareOptions, progress: Progress) -> Path:
    name, own = options.name, _given(options, (*_PARTS, "data"))
    if name in _TAKEN and own:
        raise InputError(f"NAME: {name} is the name of a dataset; choose another name for your own graph")
    if name in synthetic_config.PRESETS:
        _refuse(options, (*_OWN, "root", "split", "row_normalize", "dtype"), f"the synthetic {name}")
        config = dataclasses.replace(synthetic_config.PRESETS[name].scaled(options.scale), seed=options.seed)
        folder = _new_folder(options)
        synthetic.generate(config, folder, progress)
        return folder
    _refuse(options, ("scale",) if options.split_random else _SYNTHETIC, f"{name}, which is not synthetic")
    for ogb in (ogb_nodes, ogb_binary):
        if name in ogb.DATASETS and not own:
            _refuse(options, (*_OWN, "split"), f"{name}, which has one split")
            return _write_raw(ogb.read(name, catalogue.data_root(options.root or None)), options, progress)
    if name in catalogue.NAMES:
        _refuse(options, _OWN, f"the dataset {name}")
        return _write_dataset(options, progress)
    if not _given(options, _OWN):
        catalogue.refuse_unknown("NAME", name, "or any other name with --data, or with --edges and the other parts")
    if not options.split_random:
        return _write_raw(_own_checked(options), options, progress)
    _refuse(options, (*SPLITS, "split"), "--split-random, which draws the split")
    drawn = RandomSplit.parse(options.split_random, options.seed)
    return _write_raw(dataclasses.replace(_own_checked(options), random_split=drawn), options, progress)


def _own_checked(options: PrepareOptions) -> RawGraph:
    """The user's graph. Raises InputError for a number of classes where there are none."""
    raw = _own(options)
    if options.num_classes and isinstance(raw.labels, Numbers):
        raise InputError(f"--num-classes: not for {raw.labels.name}, which has numbers and no classes")
    return raw


def _own(options: PrepareOptions) -> RawGraph:
    num_classes = options.num_classes or None
    if options.num_classes < 0:
        raise InputError(
            f"--num-classes: {options.num_classes}; allowed: 1 or more, or 0 for the highest label and one"
        )
    edges = EdgeOptions(options.edge_weight, options.edge_features)
    if options.data:
        _refuse(options, (*_PARTS, *_TABLES, "root"), "--data, which has all parts")
        return pyg_data.from_data(
            options.name,
            Path(options.data),
            options.split,
            options.undirected,
            num_classes,
            _tell(options),
            {} if options.split_random else pyg_fields.MASKS,
            edges.fields(),
            options.numbers,
        )
    _refuse(options, ("root", "split"), "a graph in files")
    if absent := _absent(options):
        allowed = f"{_options(_PARTS)}, all of them (or --split-random for the last three), or --data"
        raise InputError(f"{_options(absent)}: not given; allowed: {allowed}; the first two are enough to predict")
    if not options.labels:
        _refuse(options, ("num_classes", "numbers", "label_columns"), "a graph without --labels")
    paths = {part: Path(getattr(options, part)) for part in (*_PARTS, "ids") if getattr(options, part)}
    labels = LabelOptions(options.label_columns, options.numbers)
    tables = TableOptions(options.header, options.id_column, edges, labels)
    return own.from_files(options.name, paths, tables, options.undirected, num_classes, _tell(options))


def _absent(options: PrepareOptions) -> list[str]:
    """The parts that are missing: a split needs labels, and all of its three tables."""
    needed = list(_NEEDED)
    if options.split_random or _given(options, SPLITS):
        needed = [part for part in _PARTS if not (options.split_random and part in SPLITS)]
    return [part for part in needed if not getattr(options, part)]


def _tell(options: PrepareOptions) -> Callable[[str], None]:
    """A function that logs a line about the detected properties of the user's files."""
    return lambda text: _log.info(text, extra={"speaker": f"prepare {options.name}"})


def _write_raw(raw: RawGraph, options: PrepareOptions, progress: Progress) -> Path:
    folder = _new_folder(options)
    row_normalize = options.row_normalize == "yes"
    origin = _origin(options, raw.source, row_normalize)
    tell = _tell(options)
    write_raw(raw, folder, options.dtype, row_normalize, origin, progress, tell)
    for note in column_notes(open_store(folder).x):
        tell(note)
    return folder


def _write_dataset(options: PrepareOptions, progress: Progress) -> Path:
    """Write a dataset of the catalogue, which is small enough to be loaded whole."""
    folder = _new_folder(options)
    row_normalize = options.row_normalize != "no"
    progress("load", 0.0)
    graph = catalogue.load(options.name, options.root or None, options.split, row_normalize)
    progress("load", 1.0)
    if options.dtype == "bfloat16":
        graph = dataclasses.replace(graph, x=graph.x.bfloat16())
    progress("write", 0.0)
    write_store(graph, folder, _origin(options, "catalogue", row_normalize))
    progress("write", 1.0)
    return folder


def _origin(options: PrepareOptions, source: str, row_normalize: bool) -> Origin:
    drawn: Origin = {"split_random": options.split_random, "split_seed": options.seed} if options.split_random else {}
    return {
        "source": source,
        "split": options.split,
        **drawn,
        "row_normalize": row_normalize,
        "undirected": options.undirected,
        "written_by": f"ugts_dist {version('ugts_dist')}",
    }


def _new_folder(options: PrepareOptions) -> Path:
    """The target folder. Raises InputError if it exists, before hours of reading."""
    folder = _folder(options)
    if os.path.lexists(folder):
        raise InputError(f"{folder}: exists already; remove it, or name another folder with --out")
    return folder


def _folder(options: PrepareOptions) -> Path:
    if options.out:
        return Path(options.out).expanduser()
    synthesis = synthetic_config.PRESETS.get(options.name)
    return catalogue.stores_folder() / (synthesis.scaled(options.scale).name if synthesis else options.name)


def _check_name(options: PrepareOptions) -> None:
    if not options.name or options.name.startswith(".") or set(options.name) & set("/\\\0\n"):
        raise InputError(f"NAME: {options.name!r}; allowed: a name for the graph, without a separator of folders")


def _refuse(options: PrepareOptions, fields: Sequence[str], of: str) -> None:
    given = _given(options, fields)
    if given:
        raise InputError(f"{_options(given)}: not for {of}")


def _given(options: PrepareOptions, fields: Sequence[str]) -> list[str]:
    """The options among `fields` that differ from their defaults."""
    defaults = PrepareOptions("")
    return [field for field in fields if getattr(options, field) != getattr(defaults, field)]


def _options(fields: Sequence[str]) -> str:
    return ", ".join("--" + field.replace("_", "-") for field in fields)
