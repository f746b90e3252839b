"""Summaries and comparisons as tables on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from ugts_dist.checkpointing.provenance import classes_of
from ugts_dist.config import flat
from ugts_dist.console import new_table, output, pairs, plain
from ugts_dist.graphs import classes
from ugts_dist.tickets.compare import Comparison, Overlap
from ugts_dist.tickets.summary import Summary


def show_summary(summary: Summary) -> None:
    """Print a ticket: its numbers, layers, metrics and origin."""
    console = output()
    console.print(pairs(summary.path, _overview(summary)))
    layers = new_table("Layers", ("weight", "shape", "kept", "density", "entropy, bytes", "gain", "scale"))
    for layer in summary.layers:
        numbers = (f"{layer.kept:,}", f"{layer.density:.4f}", f"{layer.entropy_bytes:,.0f}")
        layers.add_row(plain(layer.name), _shape(layer.shape), *numbers, f"{layer.gain:.4g}", f"{layer.scale:.4g}")
    console.print(layers)
    if any(layer.levels for layer in summary.layers):
        console.print(_levels(summary))
    provenance = dict(summary.provenance)
    if names := classes_of(provenance):
        provenance["classes"] = classes.summary(names)
    parts = {"Metrics": summary.metrics, "Provenance": provenance, "Configuration": summary.config}
    for title, values in parts.items():
        if values:
            console.print(pairs(title, flat(values).items()))


def _levels(summary: Summary) -> Table:
    """Number of weights of each layer for each value of its mask."""
    values = sorted({value for layer in summary.layers for value in layer.levels}, key=int)
    table = new_table("Values of the masks", ("weight", *values))
    for layer in summary.layers:
        table.add_row(plain(layer.name), *(f"{layer.levels.get(value, 0):,}" for value in values))
    return table


def show_comparison(comparison: Comparison) -> None:
    """Print what two tickets have in common, and how they differ."""
    console = output()
    title = f"Masks of {comparison.first} and {comparison.second}"
    masks = new_table(title, ("weight", "weights", "equal bits", "overlap of kept weights", "by chance"))
    for overlap in (*comparison.layers, comparison.total):
        masks.add_row(*_overlap(overlap))
    console.print(masks)
    if not comparison.differences:
        console.print("Nothing else differs.")
        return
    differences = new_table("Differences", ("", comparison.first, comparison.second), numbers=False)
    for difference in comparison.differences:
        differences.add_row(*map(plain, (difference.name, _cell_text(difference.first), _cell_text(difference.second))))
    console.print(differences)


def _overview(summary: Summary) -> Iterable[tuple[str, Any]]:
    yield "sparsity", f"{summary.sparsity:.6f}: {summary.kept:,} of {summary.weights:,} weights are kept"
    share = f"{summary.file_bytes / summary.dense_bytes:.2%} of the dense network's {summary.dense_bytes:,}"
    bound = f"{summary.entropy_bytes:,.0f} is the entropy of the masks"
    yield "file", f"{summary.file_bytes:,} bytes, {share}; {bound}"
    if summary.form:
        yield "masks", ", ".join(f"{name} {value}" for name, value in summary.form.items())
    yield "weights", f"{summary.weight_init}, seed {summary.seed}"
    for group in summary.fold:
        yield "the same random weights", ", ".join(group)
    yield "fingerprint", summary.fingerprint


def _overlap(overlap: Overlap) -> tuple[Text | str, ...]:
    shares = (overlap.agreement, overlap.jaccard, overlap.jaccard_by_chance)
    return (plain(overlap.name), f"{overlap.weights:,}", *(f"{share:.4f}" for share in shares))


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _cell_text(value: Any) -> str:
    return "-" if value is None else str(value)
