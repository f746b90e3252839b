"""Graph stores that are damaged, or change."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from tests.trials.case import case, ugts
from tests.trials.child import in_child
from ugts_dist.errors import InputError
from ugts_dist.graphs import store_check
from ugts_dist.graphs.graph import from_edges
from ugts_dist.graphs.sampling import NeighborSampler
from ugts_dist.graphs.store import open_store
from ugts_dist.graphs.store_writer import write_store

NUM_NODES = 60
TINY = ("--model.width", "4", "--run.epochs", "2", "--log.no-progress", "--log.to", "--run.select", "any")


def make_store(folder: Path) -> Path:
    """A store of a ring with chords, without randomness."""
    nodes = torch.arange(NUM_NODES)
    edges = torch.cat([torch.stack([nodes, (nodes + step) % NUM_NODES]) for step in (1, 2, 7)], dim=1)
    x = torch.sin(torch.arange(NUM_NODES * 3.0)).reshape(NUM_NODES, 3)
    write_store(from_edges("ring", x, edges, nodes % 3, *nodes.split(20)), folder / "ring")
    return folder / "ring"


def put(store: Path, array: str, place: int, value: float) -> None:
    """Change a value in an array's file."""
    values = np.load(store / f"{array}.npy", mmap_mode="r+")
    values.reshape(-1)[place] = value
    values.flush()


def train(store: Path, batch: Sequence[str] = ("--batch.size", "10", "--batch.fan-out", "3", "3")) -> str:
    return in_child(told, ["train", "--data.name", store, "--run.folder", store.with_name("run"), *batch, *TINY])


def told(*commands: Sequence[str | Path]) -> str:
    return " ".join(ugts(*arguments).told for arguments in commands)


@case(r"exit 2: .*ring/indptr\.npy: has a decrease after node 10; .*; it is damaged, prepare the graph again$")
def count_too_large(folder: Path) -> str:
    """Train on a store with 10^12 in indptr."""
    store = make_store(folder)
    put(store, "indptr", 10, 10**12)
    return train(store)


@case(r"exit 2: .*ring/indptr\.npy: has a decrease after node 9;")
def negative_count(folder: Path) -> str:
    """Train on a store with a negative number in indptr."""
    store = make_store(folder)
    put(store, "indptr", 10, -5)
    return train(store)


@case(r"^60 flipped bits: \d+ refused, \d+ opened$")
def flipped_bits(folder: Path) -> str:
    """Open and sample from a store with one bit of indptr flipped, 60 times."""
    path = make_store(folder) / "indptr.npy"
    return in_child(flipped_in_turn, path, path.read_bytes())


def flipped_in_turn(path: Path, whole: bytes) -> str:
    """Opened are those whose flipped number is that of an array that is still valid."""
    refused = 0
    first = len(whole) - 8 * (NUM_NODES + 1)
    for number in range(60):
        place = first + number * 8 + number % 5
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << number % 8]) + whole[place + 1 :])
        try:
            graph = open_store(path.parent)
        except InputError:
            refused += 1
        else:
            NeighborSampler(graph.indptr, graph.indices, [-1], 0).sample(0, torch.arange(NUM_NODES))
    return f"60 flipped bits: {refused} refused, {60 - refused} opened"


@case(r"exit 2: .*ring/indices\.npy: has node 1000000; allowed: 0 to 59;")
def neighbour_out_of_range(folder: Path) -> str:
    """Train, full batch, on a store with a neighbour that is no node."""
    store = make_store(folder)
    put(store, "indices", 33, 10**6)
    return train(store, batch=())


@case(r"exit 2: .*ring/train\.npy: has node 1000; allowed: 0 to 59;")
def training_node_out_of_range(folder: Path) -> str:
    """Train on a store with a training node that is no node."""
    store = make_store(folder)
    put(store, "train", -1, 1000)
    return train(store)


@case(r"exit 2: .*ring/(test|valid)\.npy: has node 25, which is also in valid;|exit 2: .*test\.npy: has node 25 ")
def splits_with_a_common_node(folder: Path) -> str:
    """Train on a store whose test nodes have a validation node among them."""
    store = make_store(folder)
    put(store, "test", 0, 25)
    return train(store)


@case(r"exit 2: .*ring/y\.npy: has label 7 of node 3; allowed: 0 to 2 ")
def label_out_of_range(folder: Path) -> str:
    """Train on a store with a label that is no class."""
    store = make_store(folder)
    put(store, "y", 3, 7)
    return train(store)


@case(r"exit 2: .*ring/x\.npy: has inf at node 3, feature 0; allowed: finite numbers;")
def infinite_feature(folder: Path) -> str:
    """Train on a store with a feature that is infinite."""
    store = make_store(folder)
    put(store, "x", 9, np.inf)
    return train(store)


@case(r"exit 2: .*ring/meta\.json: changed since written \(SHA-256 differs\); prepare the graph again$")
def another_number_of_classes(folder: Path) -> str:
    """Train on a store whose meta.json says another number of classes."""
    store = make_store(folder)
    meta = json.loads((store / "meta.json").read_text())
    (store / "meta.json").write_text(json.dumps(meta | {"num_classes": 30}))
    return train(store)


@case(r"(exit 2: ugts: .*ring/indices\.npy: has node 1000000; [^/]* prepare the graph again ?){3}$")
def damaged_after_the_training(folder: Path) -> str:
    """Evaluate, predict and analyse a ticket whose store was damaged since."""
    store = make_store(folder)
    trained = train(store)
    if not trained.startswith("exit 0"):
        return trained
    put(store, "indices", 33, 10**6)
    run = folder / "run"
    predicted = ("predict", run, "--out", folder / "p.parquet")
    return in_child(told, ("evaluate", run), predicted, ("analyse", "mad", run))


@case(r"exit 0: .*ring: ring, 60 nodes, .* all checksums right$")
def verify_a_whole_store(folder: Path) -> str:
    """Verify a store that is whole."""
    return ugts("prepare", "ring", "--out", make_store(folder), "--verify").told


@case(r"trained: exit 0: .* verified: exit 2: .*ring: x\.npy, y\.npy changed since written \(SHA-256 differs\)")
def valid_but_changed(folder: Path) -> str:
    """A feature and a label that changed into valid ones are found by --verify alone."""
    store = make_store(folder)
    put(store, "x", 9, 0.25)
    put(store, "y", 4, 0)
    return f"trained: {train(store)} verified: {ugts('prepare', 'ring', '--out', store, '--verify').told}"


@case(r"all checksums right but meta\.json's, which has none and can't be verified: an older version wrote it$")
def verify_an_older_store(folder: Path) -> str:
    """Verify a store without a checksum of meta.json."""
    store = make_store(folder)
    meta = json.loads((store / "meta.json").read_text())
    del meta["sha256"]
    (store / "meta.json").write_text(json.dumps(meta))
    return ugts("prepare", "ring", "--out", store, "--verify").told


@case(r"^checked 1 times in 3 starts, 2 times after a change$")
def checked_once(folder: Path) -> str:
    """A store is read and checked at its first start and after a change."""
    store = make_store(folder)
    with mock.patch.object(store_check, "_TICK", -1), mock.patch.object(store_check, "check") as check:
        for _ in range(3):
            open_store(store)
        first = check.call_count
        os.utime(store / "indices.npy")
        open_store(store)
        return f"checked {first} times in 3 starts, {check.call_count} times after a change"


@case(r"InputError: indptr: leads out of indices; the files of the graph changed while they were used")
def changed_under_a_running_process(folder: Path) -> str:
    """A store's file changes while it is mapped and sampled from."""
    store = make_store(folder)

    return in_child(sample_from_changed, store)


def sample_from_changed(store: Path) -> str:
    graph = open_store(store)
    put(store, "indptr", 10, 10**12)
    try:
        NeighborSampler(graph.indptr, graph.indices, [5], 0).sample(0, graph.train)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "sampled"
