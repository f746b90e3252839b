"""Tickets beside the trained dense network on graphs that have no preset: settings by the rules of `ugts train`.

    UGTS_DATA=DATA .venv/bin/python benchmarks/untuned.py                        # every graph, dense and ticket
    ... untuned.py --graphs computers-svd --only ticket --set supermask.output_rms=0.1   # with a field changed
    ... untuned.py --graphs cora --no-rules                                      # the plain defaults

60 % of the nodes are for training, 20 % each for validation and test, drawn from a seed. `-svd` has the leading
singular vectors of the features instead, and `-units` these in units of their own, as columns of a table are. Graphs
are prepared once, in a temporary folder. Each finished run is kept, in results/untuned.json, and never repeated.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from unseen_graphs import UNSEEN, drawn_split

from ugts_dist.atomic import write_text
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.graphs import catalogue
from ugts_dist.graphs.store_writer import write_store
from ugts_dist.training.run import fit_settings, run

RESULTS = Path(__file__).parent / "results" / "untuned.json"
GRAPHS = {
    "texas": ("texas", ""),
    "cora": ("cora", ""),
    "citeseer": ("citeseer", ""),
    "pubmed": ("pubmed", ""),
    "pubmed-svd": ("pubmed", "svd"),
    "pubmed-units": ("pubmed", "units"),
    "computers": ("amazon-computers", ""),
    "computers-svd": ("amazon-computers", "svd"),
    "physics": ("coauthor-physics", ""),
}
QUIET = {"log.progress": False, "log.to": [], "checkpoint.keep_last": 0}


def prepared(name: str, folder: Path) -> Path:
    """The store of a graph with a split of its own."""
    store = folder / name
    if store.exists():
        return store
    if name in UNSEEN:
        write_store(replace(UNSEEN[name](), name=name), store)
    else:
        source, change = GRAPHS[name]
        graph = catalogue.load(source, row_normalize=False)
        train, valid, test = drawn_split(graph.num_nodes)
        x = changed(graph.x, change)
        write_store(replace(graph, name=name, x=x, train=train, valid=valid, test=test, digests={}), store)
    return store


def changed(x: Tensor, change: str) -> Tensor:
    """Features `[num_nodes, k]` as they are, as 64 singular vectors, or as 24 of these in units of their own."""
    if not change:
        return x
    torch.manual_seed(0)
    u, s, _ = torch.svd_lowrank(x, 64, niter=4)
    vectors = u * s * x.shape[0] ** 0.5 / s[0]
    if change == "svd":
        return vectors
    generator = torch.Generator().manual_seed(3)
    units, means = (10.0 ** (torch.rand(24, generator=generator) * 5 - 2) for _ in range(2))
    return vectors[:, :24] * units + means


def measured(store: Path, changes: dict[str, Any], rules: bool) -> dict[str, Any]:
    """One run from its settings to its result."""
    config = Config().replace({**QUIET, **changes, "data.name": str(store)})
    chosen, reasons = fit_settings(config, Ranks(), [*changes, "data.name"]) if rules else (config, [])
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result, _ = run(chosen.replace({"run.folder": f"{folder}/run"}), Ranks())
    return {
        "valid": result.valid,
        "test": result.test,
        "bytes": result.bytes,
        "sparsity": result.sparsity,
        "seconds": round(time.perf_counter() - started, 1),
        "settings": reasons,
    }


def table(rows: dict[str, Any]) -> str:
    """The runs by graph and settings, dense beside ticket."""
    heading = "| graph | settings | seed | dense: valid, test | ticket: valid, test | bytes | seconds |"
    lines = [heading, "|---" * 7 + "|"]
    for key, row in rows.items():
        runs = [row[kind] for kind in ("dense", "ticket") if kind in row]
        accuracy = [_shown(row.get(kind)) for kind in ("dense", "ticket")]
        sizes, seconds = (", ".join(f"{run[name]:,}" for run in runs) for name in ("bytes", "seconds"))
        lines.append("| " + " | ".join([*key.split("/"), *accuracy, sizes, seconds]) + " |")
    return "\n".join(lines)


def _shown(run: dict[str, Any] | None) -> str:
    return "" if run is None else f"{100 * run['valid']:.1f}, {100 * run['test']:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", nargs="+", default=[*GRAPHS, *UNSEEN], choices=[*GRAPHS, *UNSEEN])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--only", choices=["dense", "ticket"])
    parser.add_argument("--set", nargs="+", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--rules", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    changes = {name: json.loads(value) for name, value in (pair.split("=", 1) for pair in options.set)}
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    label = " ".join(["rules" if options.rules else "plain", *options.set])
    with tempfile.TemporaryDirectory() as folder:
        for seed in options.seeds:
            for name in options.graphs:
                row = rows.setdefault(f"{name}/{label}/{seed}", {})
                for kind, method in (("dense", "dense"), ("ticket", "ugts")):
                    if kind not in row and options.only in (None, kind):
                        asked = {**changes, "supermask.method": method, "run.seed": seed}
                        row[kind] = measured(prepared(name, Path(folder)), asked, options.rules)
                        write_text(RESULTS, json.dumps(rows, indent=1) + "\n")
                        print(name, label, seed, kind, row[kind], flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
