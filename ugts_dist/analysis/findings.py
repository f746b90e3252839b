"""The table and the figure of each analysis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ugts_dist.analysis.calibration import Bin, error
from ugts_dist.analysis.embedding import Outputs, tsne
from ugts_dist.analysis.observe import Trace
from ugts_dist.analysis.ood import Detection
from ugts_dist.analysis.options import CalibrationOptions, TsneOptions
from ugts_dist.analysis.publish import Finding
from ugts_dist.analysis.robustness import Noise, UnderNoise

_MAD, _GRADIENT = "mean cosine distance (MAD)", "gradient norm"
_MOST_IN_LEGEND, _MOST_IN_TABLE = 10, 5  # of the layers of a deep network


def mad_finding(name: str, mad: Mapping[str, float]) -> Finding:
    """MAD of each layer's outputs."""
    rows = [(layer, f"{value:.4g}") for layer, value in mad.items()]
    draw = partial(_draw_by_layer, values=mad, label=_MAD, logarithmic=False)
    return Finding(f"{name}: distance of the nodes' outputs", ("layer", "MAD"), rows, {"mad": dict(mad)}, draw)


def gradient_finding(name: str, norms: Mapping[str, float]) -> Finding:
    """Gradient norm of each layer's weights."""
    rows = [(layer, f"{value:.4g}") for layer, value in norms.items()]
    draw = partial(_draw_by_layer, values=norms, label=_GRADIENT, logarithmic=True)
    title = f"{name}: gradient by the weights that are kept"
    return Finding(title, ("layer", _GRADIENT), rows, {"gradient_norms": dict(norms)}, draw)


def training_finding(name: str, trace: Trace) -> Finding:
    """Both over training."""
    outputs, weights = _spread(len(trace.layers), _MOST_IN_TABLE), _spread(len(trace.weights), _MOST_IN_TABLE)
    columns = ["epoch", "sparsity", *(f"MAD {trace.layers[k]}" for k in outputs)]
    columns += [f"gradient {trace.weights[k]}" for k in weights]
    rows = [
        [str(epoch), f"{sparsity:.3f}", *(f"{mad[k]:.3g}" for k in outputs), *(f"{norms[k]:.3g}" for k in weights)]
        for epoch, sparsity, mad, norms in zip(trace.epochs, trace.sparsity, trace.mad, trace.gradients, strict=True)
    ]
    return Finding(f"{name}: over training", columns, rows, trace.to_dict(), partial(_draw_trace, trace=trace))


def tsne_finding(name: str, outputs: Outputs, options: TsneOptions) -> Finding:
    """The map; it is computed here, which can take minutes."""
    points = tsne(outputs.x, options.perplexity, options.seed)
    classes = outputs.y.unique().tolist()
    rows = [(str(k), f"{int((outputs.y == k).sum()):,}") for k in classes]
    shown = "logits" if options.layer == 0 else f"outputs of layer {options.layer}"
    title = f"{name}: t-SNE of the {shown}, {options.of} nodes"
    values = {
        "nodes": outputs.nodes.tolist(),
        "classes": outputs.y.tolist(),
        "points": [[round(float(value), 4) for value in point] for point in points],
    }
    return Finding(title, ("class", "nodes"), rows, values, partial(_draw_points, points=points, y=outputs.y.numpy()))


def ood_finding(name: str, found: Detection) -> Finding:
    """How sure the network is of known and of left-out classes."""
    rows = [
        ("ROC-AUC", f"{found.roc_auc:.4f}"),
        ("left-out classes", ", ".join(map(str, found.classes))),
        ("test nodes of known classes", f"{found.known.numel():,}"),
        ("mean probability, known classes", f"{float(found.known.mean()):.4f}"),
        ("test nodes of left-out classes", f"{found.unknown.numel():,}"),
        ("mean probability, left-out classes", f"{float(found.unknown.mean()):.4f}"),
    ]
    values = {
        "roc_auc": found.roc_auc,
        "classes": found.classes,
        "num_known": found.known.numel(),
        "num_unknown": found.unknown.numel(),
        "mean_known": float(found.known.mean()),
        "mean_unknown": float(found.unknown.mean()),
    }
    title = f"{name}: test nodes of classes that were left out"
    return Finding(title, ("measure", "value"), rows, values, partial(_draw_detection, found=found))


def robustness_finding(name: str, found: Mapping[Noise, Sequence[UnderNoise]]) -> Finding:
    """Test accuracy by noise."""
    (first, *_) = found.values()
    rows = [
        (f"{row.fraction:.0%}", *(f"{by[i].mean:.4f} ± {by[i].deviation:.4f}" for by in found.values()))
        for i, row in enumerate(first)
    ]
    values = {
        str(noise): [{**asdict(row), "mean": row.mean, "deviation": row.deviation} for row in by]
        for noise, by in found.items()
    }
    columns = ("changed", *(f"accuracy, noise in {noise}" for noise in found))
    title = f"{name}: test accuracy with noise after training"
    return Finding(title, columns, rows, values, partial(_draw_robustness, found=found))


def calibration_finding(name: str, table: Sequence[Bin], options: CalibrationOptions) -> Finding:
    """The reliability table."""
    rows = [
        (f"{row.low:.3f} to {row.high:.3f}", f"{row.count:,}", f"{row.confidence:.4f}", f"{row.accuracy:.4f}")
        for row in table
        if row.count
    ]
    found = error(list(table))
    values = {"ece": found, "bins": [_without_nan(asdict(row)) for row in table]}
    title = f"{name}: calibration error {found:.4f} in {options.bins} bins, test nodes"
    columns = ("probability", "nodes", "mean probability", "accuracy")
    return Finding(title, columns, rows, values, partial(_draw_reliability, table=table))


def _without_nan(values: dict[str, float]) -> dict[str, float | None]:
    """JSON has no NaN."""
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def _spread(count: int, most: int) -> list[int]:
    """At most `most` of the numbers from 0 to count - 1, both ends among them."""
    numbers: list[int] = np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()
    return numbers


def _draw_by_layer(figure: Figure, values: Mapping[str, float], label: str, logarithmic: bool) -> None:
    axes = figure.subplots()
    axes.plot(range(len(values)), list(values.values()), marker="o")
    axes.set_xticks(range(len(values)), list(values), rotation=90 if len(values) > 12 else 0)
    axes.set(xlabel="layer", ylabel=label)
    if logarithmic and all(value > 0 for value in values.values()):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0.0)
    axes.grid(alpha=0.3)


def _draw_trace(figure: Figure, trace: Trace) -> None:
    figure.set_size_inches(11.2, 4.2)
    left, right = figure.subplots(1, 2)
    _draw_lines(left, trace.epochs, trace.mad, trace.layers, _MAD)
    _draw_lines(right, trace.epochs, trace.gradients, trace.weights, _GRADIENT)
    if all(value > 0 for row in trace.gradients for value in row):
        right.set_yscale("log")


def _draw_lines(
    axes: Axes, epochs: Sequence[int], values: Sequence[Sequence[float]], names: Sequence[str], label: str
) -> None:
    """A line a layer, from dark to light; where there are many, some of them are named."""
    colours = colormaps["viridis"](np.linspace(0.0, 0.9, len(names)))
    named = _spread(len(names), _MOST_IN_LEGEND)
    for k, name in enumerate(names):
        text = f"layer {name}" if name.isdigit() else name
        axes.plot(epochs, [row[k] for row in values], color=colours[k], label=text if k in named else None)
    axes.set(xlabel="epoch", ylabel=label)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.grid(alpha=0.3)


def _draw_points(figure: Figure, points: NDArray[np.float32], y: NDArray[np.int64]) -> None:
    axes = figure.subplots()
    classes = np.unique(y)
    colours = colormaps["tab10" if len(classes) <= 10 else "turbo"]
    for k, number in enumerate(classes):
        colour = colours(k if len(classes) <= 10 else k / (len(classes) - 1))
        some = points[y == number]
        axes.scatter(some[:, 0], some[:, 1], s=6, color=colour, linewidths=0, label=f"class {number}")
    if len(classes) <= 2 * _MOST_IN_LEGEND:
        axes.legend(fontsize="small", markerscale=2, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.set(xlabel="first dimension", ylabel="second dimension", xticks=[], yticks=[])


def _draw_detection(figure: Figure, found: Detection) -> None:
    from sklearn.metrics import roc_curve

    figure.set_size_inches(9.6, 4.2)
    left, right = figure.subplots(1, 2)
    bins = np.linspace(0.0, 1.0, 41).tolist()
    left.hist(found.known.numpy(), bins, density=True, alpha=0.6, label="known classes")
    left.hist(found.unknown.numpy(), bins, density=True, alpha=0.6, label="left-out classes")
    left.set(xlabel="largest probability", ylabel="density")
    left.legend(fontsize="small")
    truth = np.concatenate([np.zeros(found.known.numel()), np.ones(found.unknown.numel())])
    scores = -np.concatenate([found.known.numpy(), found.unknown.numpy()])
    false, true, _ = roc_curve(truth, scores)
    right.plot(false, true, label=f"ROC-AUC {found.roc_auc:.3f}")
    right.plot([0, 1], [0, 1], color="grey", linestyle="--", label="chance")
    right.set(xlabel="known nodes taken for left-out ones", ylabel="left-out nodes found")
    right.legend(fontsize="small")


def _draw_robustness(figure: Figure, found: Mapping[Noise, Sequence[UnderNoise]]) -> None:
    axes = figure.subplots()
    for noise, rows in found.items():
        x, y = [100 * row.fraction for row in rows], [row.mean for row in rows]
        axes.errorbar(x, y, [row.deviation for row in rows], marker="o", capsize=3, label=f"noise in {noise}")
    axes.set(xlabel="nodes or edges that are changed, %", ylabel="test accuracy")
    axes.legend()
    axes.grid(alpha=0.3)


def _draw_reliability(figure: Figure, table: Sequence[Bin]) -> None:
    axes = figure.subplots()
    filled = [row for row in table if row.count]
    total = sum(row.count for row in filled)
    width = 1.0 / len(table)
    axes.bar(
        [row.low for row in filled],
        [row.accuracy for row in filled],
        width,
        align="edge",
        alpha=0.7,
        edgecolor="white",
        label="accuracy",
    )
    axes.step(
        [row.low for row in table] + [1.0],
        [row.count / total for row in table] + [0.0],
        where="post",
        color="black",
        linewidth=1.0,
        label="part of the nodes",
    )
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", label="as sure as right")
    axes.set(xlabel="largest probability", ylabel="accuracy", xlim=(0.0, 1.0), ylim=(0.0, 1.0))
    axes.legend(fontsize="small")
