"""What is unusual about columns of features: constant ones, and ones of another scale than the rest."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from ugts_dist.graphs.standardize import ColumnStatistics, relative_deviations

EXTREME = 100.0  # times the median deviation
_MOST = 1 << 28  # numbers that are read; larger tables would take minutes
_NAMED = 3  # columns that a note names


def column_notes(x: Tensor) -> Iterator[str]:
    """A line about the constant columns of `[num_nodes, num_features]`, and one about those of extreme scale.

    Tables of more than 2^28 numbers are not read.
    """
    if x.numel() > _MOST:
        return
    deviation = ColumnStatistics.of(x).deviation
    constant = (deviation == 0).nonzero()[:, 0].tolist()
    if constant:
        yield f"{_named(constant)} constant: the same number for all nodes"
    relative = relative_deviations(deviation)
    extreme = ((relative > EXTREME) | ((relative > 0) & (relative < 1 / EXTREME))).nonzero()[:, 0].tolist()
    if extreme:
        first = f"{float(relative[extreme[0]]):,.3g} times the median deviation"
        scale = "--data.features standardize of ugts train brings all to one scale"
        yield f"{_named(extreme)} of another scale than most ({extreme[0]}: {first}); {scale}"


def _named(columns: list[int]) -> str:
    """ "features 0, 3, 5 and 2 more are", counted from 0."""
    shown = ", ".join(map(str, columns[:_NAMED]))
    more = f" and {len(columns) - _NAMED} more" if len(columns) > _NAMED else ""
    return f"features {shown}{more} are" if len(columns) > 1 else f"feature {shown} is"
