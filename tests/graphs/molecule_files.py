"""Small sets of molecules, and dataset folders in the exact raw layout of OGB's molecules."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ogb.utils.features import get_atom_feature_dims


@dataclass(frozen=True)
class Molecule:
    """Atoms [num_atoms, 9], bonds [num_bonds, 2], each bond once, and a label that may be empty."""

    atoms: NDArray[np.int64]
    bonds: NDArray[np.int64]
    label: str


def random_molecules(count: int, seed: int = 0, unknown: float = 0.0) -> list[Molecule]:
    """Chains with some rings; a label, if known, says whether there is an atom of kind 7."""
    rng = np.random.default_rng(seed)
    molecules = []
    for _ in range(count):
        size = int(rng.integers(1, 12))
        atoms = np.stack([rng.integers(0, limit, size) for limit in get_atom_feature_dims()], axis=1)
        atoms[:, 0] = rng.choice([5, 6, 8], size)
        label = int(rng.integers(0, 2))
        if label:
            atoms[rng.integers(0, size), 0] = 7
        chain = np.stack([np.arange(size - 1), np.arange(1, size)], axis=1)
        rings = rng.integers(0, size, (int(rng.integers(0, 3)), 2))
        rings = rings[rings[:, 1] - rings[:, 0] > 1]
        bonds = np.unique(np.concatenate([chain, rings]), axis=0)
        molecules.append(Molecule(atoms, rng.permutation(bonds), "" if rng.random() < unknown else str(label)))
    return molecules


def write_molecules(folder: Path, molecules: Sequence[Molecule], split: Sequence[Iterable[int]]) -> None:
    """Write the raw files and the scaffold split (ids of train, valid, test) as OGB's archives have them."""
    write_rows(folder / "raw/edge.csv.gz", (bond for molecule in molecules for bond in molecule.bonds))
    write_rows(folder / "raw/node-feat.csv.gz", (atom for molecule in molecules for atom in molecule.atoms))
    write_rows(folder / "raw/graph-label.csv.gz", ([molecule.label] for molecule in molecules))
    write_rows(folder / "raw/num-node-list.csv.gz", ([len(molecule.atoms)] for molecule in molecules))
    write_rows(folder / "raw/num-edge-list.csv.gz", ([len(molecule.bonds)] for molecule in molecules))
    for name, ids in zip(("train", "valid", "test"), split, strict=True):
        write_rows(folder / f"split/scaffold/{name}.csv.gz", ([graph] for graph in ids))


def write_rows(path: Path, rows: Iterable[Iterable[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(",".join(map(str, row)) + "\n" for row in rows).encode()))
