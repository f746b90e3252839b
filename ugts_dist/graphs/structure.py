"""Node features computed from a graph's edges only, for graphs without features. Labels are not used."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from ugts_dist.errors import InputError
from ugts_dist.graphs.tables import Block, Report, Table, array_table, limited, silent

NUM_FEATURES = 128
_POWER_ITERATIONS = 6
_SEED = 0  # of the randomised decomposition


def structural_features(edges: Table, num_nodes: int, num_edges: int | None) -> Table:
    """[num_nodes, 128] features of the edges, fewer for fewer nodes. They are computed when they are first read.

    Reading takes some 5 KiB per node, and raises InputError for ends outside 0 to num_nodes - 1.
    """
    name = f"features of {edges.name}"

    @functools.cache
    def features() -> NDArray[np.float32]:
        blocks = list(limited(edges.name, edges.read(silent), num_edges))
        pairs = np.concatenate(blocks).astype(np.int64) if blocks else np.empty((0, 2), np.int64)
        wrong = np.flatnonzero(((pairs < 0) | (pairs >= num_nodes)).any(axis=1))
        if len(wrong):
            source, destination = pairs[wrong[0]]
            where = edges.at(int(wrong[0]))
            raise InputError(f"{where}: nodes {source} and {destination}; allowed: 0 to {num_nodes - 1}")
        return singular_features(normalised_adjacency(pairs, num_nodes), NUM_FEATURES)

    def read(report: Report) -> Iterator[Block]:
        return array_table(name, features(), "numbers").read(report)

    return Table(name, min(NUM_FEATURES, num_nodes), num_nodes, read)


def normalised_adjacency(edges: NDArray[np.int64], num_nodes: int) -> sp.csr_matrix:
    """D^-1/2 (A + I) D^-1/2 as float32, for edges [num_edges, 2] in both directions, each once, without self loops."""
    apart = edges[edges[:, 0] != edges[:, 1]]
    ones = np.ones(len(apart), np.float32)
    directed = sp.coo_matrix((ones, (apart[:, 0], apart[:, 1])), (num_nodes, num_nodes)).tocsr()
    looped = ((directed + directed.T) > 0).astype(np.float32) + sp.identity(num_nodes, np.float32, format="csr")
    scale = sp.diags(1 / np.sqrt(np.asarray(looped.sum(axis=1)).ravel()))
    return (scale @ looped @ scale).tocsr()


def singular_features(matrix: sp.csr_matrix, number: int) -> NDArray[np.float32]:
    """The leading left singular vectors of a matrix [n, n], times singular values and sqrt(n): [n, min(number, n)].

    By the randomised method of Halko et al. (2011, arXiv:0909.4061) with a fixed seed, which is approximate if the
    spectrum has no gap. The entry of largest magnitude of each column is positive.
    """
    from sklearn.utils.extmath import randomized_svd  # imports in seconds, and no other graph needs it

    n = matrix.shape[0]
    vectors, values, _ = randomized_svd(matrix, min(number, n), n_iter=_POWER_ITERATIONS, random_state=_SEED)
    return (vectors * values * np.sqrt(n)).astype(np.float32)
