"""The page of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ugts_dist.checkpointing.provenance import shown_provenance
from ugts_dist.config import Config, flat
from ugts_dist.methods import METHODS
from ugts_dist.report import figures
from ugts_dist.report.analyses import analyses
from ugts_dist.report.files import number
from ugts_dist.report.page import Block, Code, Details, Figure, Page, Paragraph, Problem, Section, Table
from ugts_dist.report.run_files import Network, RunFiles, Sizes, read_run
from ugts_dist.report.text import shown

_ARCHITECTURES = {"gcn": "GCN", "sage": "GraphSAGE", "gat": "GAT", "gin": "GIN", "gin-paper": "GIN (paper)"}
_MOST_ROWS = 400
_LONGEST = 200


def run_page(folder: Path) -> Page:
    """The page of a run that is finished or running. Raises InputError if none of it can be read."""
    run = read_run(folder)
    found = analyses(run.folder)
    sections = [
        Section("Result", blocks=[*_problems(run), *_result(run)]),
        Section("Rebuild it", "In the folder of the run:", [Code(_commands(run))]),
        *_curves(run),
        *_network(run.network),
        *found,
        *_configuration(run),
        *_provenance(run.network),
    ]
    return Page(_title(run), _intro(run), sections)


def _title(run: RunFiles) -> str:
    if run.config is None:
        return run.folder.path.resolve().name
    return f"{run.config.data_name}, {_model(run.config)}: {_method(run.config)}"


def _model(config: Config) -> str:
    m = config.model
    if m.factory:
        return m.description
    return f"{_ARCHITECTURES.get(m.arch, m.arch)} of depth {m.depth} and width {m.width}"


def _method(config: Config) -> str:
    title, sparsity = METHODS[config.supermask.method].title, config.supermask.sparsity
    return f"{title} at sparsity {sparsity:g}" if config.supermask.masks else title


def _intro(run: RunFiles) -> str:
    """The result in a few sentences."""
    if run.result is None:
        of = "" if run.config is None else f" of {run.config.run.epochs}"
        newest = int(run.epochs[-1]["epoch"]) + 1 if run.epochs else 0
        status = f"This run is not finished: it has come to epoch {newest}{of}."
        return f"{status} What follows is its state so far." if newest else status
    reached = f"It reaches a test {_metric(run)} of {shown(number(run.best, 'test'))}."
    if run.network is None:
        return f"{reached} The network itself is not in the folder, or can't be read."
    sizes = run.network.sizes
    if not run.network.is_ticket:
        return f"A trained dense network, which tickets are compared with. {reached} Its file has {sizes.file:,} bytes."
    return (
        f"A network whose weights are random and were never trained: a mask keeps {run.network.kept:,} of its "
        f"{run.network.weights:,} weights. {reached} Its file of {sizes.file:,} bytes is {_share(sizes)} of the "
        "dense network's tensors."
    )


def _share(sizes: Sizes) -> str:
    return f"{sizes.file / max(1, sizes.dense):.2%}"


def _problems(run: RunFiles) -> Iterator[Block]:
    for problem in run.folder.problems:
        yield Problem(problem)


def _result(run: RunFiles) -> Iterator[Block]:
    metric = _metric(run)
    rows: list[tuple[str, object]] = (
        []
        if run.config is None
        else [
            ("data", run.config.data_name),
            ("network", _model(run.config)),
            ("method", _method(run.config)),
        ]
    )
    for key, name in (
        ("test", f"test {metric}"),
        ("valid", f"best validation {metric}"),
        ("epoch", "in epoch"),
        ("sparsity", "achieved sparsity"),
    ):
        if number(run.best, key) is not None:
            value = number(run.best, key)
            rows.append((name, int(value or 0) if key == "epoch" else value))
    rows += _bytes(run.network)
    for key, name in (
        ("test_any", f"test {metric} at the best validation of all epochs"),
        ("test_last", f"test {metric} after the last epoch"),
        ("seconds", "seconds"),
    ):
        if run.result is not None and number(run.result, key) is not None:
            rows.append((name, number(run.result, key)))
    yield Table((), [(name, shown(value)) for name, value in rows])


def _metric(run: RunFiles) -> str:
    """The name of the metric, as far as it is known."""
    return run.metric or "metric"


def _bytes(network: Network | None) -> list[tuple[str, object]]:
    if network is None:
        return []
    sizes = network.sizes
    rows: list[tuple[str, object]] = [("bytes of its file", sizes.file)]
    if network.is_ticket:
        rows.append(("bytes of the dense network's tensors, float32", sizes.dense))
        rows.append(("share of the dense network", _share(sizes)))
    return rows


def _commands(run: RunFiles) -> str:
    lines = [] if run.result is not None else ["ugts train .                                  # resume it"]
    if run.network is not None:
        lines.append(f"ugts evaluate {run.network.file}                     # rebuild the network and measure it again")
        if run.network.is_ticket:
            lines.append(f"ugts ticket show {run.network.file}                  # layers, bytes, origin")
    lines.append("ugts train --config config.toml --run.folder again   # repeat the whole run")
    return "\n".join(_aligned(line) for line in lines)


def _aligned(line: str) -> str:
    command, _, comment = line.partition("#")
    return f"{command.rstrip():<52} # {comment.strip()}"


def _curves(run: RunFiles) -> Iterator[Section]:
    if not run.epochs:
        yield Section("Epochs", blocks=[Paragraph("No epoch has been measured yet.")])
        return
    best = number(run.best, "epoch")
    lr = {"lr": "learning rate"} if len({epoch.get("lr") for epoch in run.epochs}) > 1 else {}
    drawn: list[tuple[str, Mapping[str, str]]] = [
        ("training loss", {"loss": "loss"}),
        (_metric(run), {"valid": "validation", "test": "test"}),
        ("sparsity while training", {"sparsity": "sparsity"}),
        ("threshold", {"threshold": "threshold"}),
        ("learning rate", lr),
    ]
    blocks: list[Block] = []
    for what, names in drawn:
        lines = {name: figures.finite(*_column(run, key)) for key, name in names.items()}
        lines = {name: line for name, line in lines.items() if line[0]}
        if lines:
            title = f"{what[0].upper()}{what[1:]} over epochs"
            blocks.append(Figure(figures.curves(lines, what, best), title))
    text = "The network is always judged at its final sparsity, also while the sparsity still rises."
    if any("threshold" in epoch for epoch in run.epochs):
        text += " The threshold is the one at which it is judged."
    yield Section("Epochs", text, [*blocks, _table_of_epochs(run.epochs, best)])


def _column(run: RunFiles, key: str) -> tuple[list[float], list[float]]:
    there = [epoch for epoch in run.epochs if key in epoch]
    return [epoch["epoch"] for epoch in there], [epoch[key] for epoch in there]


def _table_of_epochs(epochs: Sequence[dict[str, float]], best: float | None) -> Block:
    """Every evaluated epoch; of very many, a regular selection, the best one and the last."""
    step = -(-len(epochs) // _MOST_ROWS)
    last = len(epochs) - 1
    chosen = [epoch for i, epoch in enumerate(epochs) if i % step == 0 or i == last or epoch["epoch"] == best]
    names = [name for name in dict.fromkeys(key for epoch in epochs for key in epoch) if name != "epoch"]
    rows = [[f"{epoch['epoch']:g}", *(shown(epoch.get(name)) for name in names)] for epoch in chosen]
    note = "" if step == 1 else f"Every {step}th of {len(epochs):,} measured epochs, the best one and the last."
    return Details("All measured epochs" if step == 1 else "Measured epochs", Table(["epoch", *names], rows, note))


def _network(network: Network | None) -> Iterator[Section]:
    if network is None:
        return
    if not network.is_ticket:
        rows = [[layer.name, _shape(layer.shape), shown(layer.weights)] for layer in network.layers]
        yield Section("Layers", blocks=[Table(("weight", "shape", "weights"), rows)])
        return
    density = {layer.name: layer.kept / layer.weights for layer in network.layers}
    mean = network.kept / network.weights
    rows = [
        [layer.name, _shape(layer.shape), shown(layer.weights), shown(layer.kept), shown(density[layer.name])]
        for layer in network.layers
    ]
    rows.append(["all", "", shown(network.weights), shown(network.kept), shown(mean)])
    yield Section(
        "Density per layer",
        "The part of each weight's entries that the ticket's mask keeps.",
        [
            Figure(figures.bars(density, "density", mean), "Density per layer"),
            Table(("weight", "shape", "weights", "kept", "density"), rows),
        ],
    )
    yield _size(network)


def _size(network: Network) -> Section:
    sizes = network.sizes
    held = (
        ("masks, coded", sizes.masks),
        ("other tensors", sizes.tensors),
        ("header: names, gains, configuration, origin", sizes.header),
        ("file", sizes.file),
    )
    rows = [[name, shown(count), f"{count / sizes.file:.1%}"] for name, count in held]
    text = (
        f"No code takes less than {sizes.entropy:,.1f} bytes on average for random masks of these densities: their "
        f"entropy. The coded masks take {sizes.masks:,}."
    )
    return Section("What the ticket's bytes hold", text, [Table(("", "bytes", "of the file"), rows)])


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _configuration(run: RunFiles) -> Iterator[Section]:
    config = run.config
    if config is None:
        return
    rows = [
        [name, *("-" if value is None else str(value) for value in (own, usual))]
        for name, (own, usual) in config.changes(Config()).items()
    ]
    blocks: list[Block] = [Table(("field", "value", "default"), rows)] if rows else []
    text = "The fields that determine the result and are not the defaults." if rows else "All defaults."
    yield Section("Configuration", text, [*blocks, Details("All fields, as TOML", Code(config.to_toml()))])


def _provenance(network: Network | None) -> Iterator[Section]:
    if network is None:
        return
    rows = [
        [name, str(value)[:_LONGEST]]
        for name, value in (network.origin | flat(shown_provenance(network.provenance))).items()
    ]
    if rows:
        yield Section("Where it comes from", "As the saved network's header tells.", [Table((), rows)])
