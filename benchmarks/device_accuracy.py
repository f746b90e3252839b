"""Accuracy of a preset on a device beside the CPU's, seed by seed, and the seconds of the runs."""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import torch
from side_by_side import machine, table

from ugts_dist.config import Config, load_preset
from ugts_dist.distributed.ranks import ranks_from_environment
from ugts_dist.graphs.configured import load_graph
from ugts_dist.training.fit import Result, fit


def main() -> None:
    options = _arguments()
    torch.set_num_threads(options.threads)
    results: dict[str, list[Result]] = {
        device: [_run(_config(options, seed, device)) for seed in options.seeds] for device in (options.device, "cpu")
    }
    print(f"{options.preset}, seeds {', '.join(map(str, options.seeds))}; {machine(options.device)}\n")
    print(table(["", "test, %", "validation, %", "s a run"], [_row(*each) for each in results.items()]))


def _run(config: Config) -> Result:
    with tempfile.TemporaryDirectory() as folder, ranks_from_environment(config.run.device) as ranks:
        return fit(config, load_graph(config), ranks, Path(folder))


def _row(device: str, results: list[Result]) -> list[str]:
    test, valid = [100 * result.test for result in results], [100 * result.valid for result in results]
    seconds = statistics.median(result.seconds for result in results)
    return [device, _spread(test), _spread(valid), f"{seconds:.1f}"]


def _spread(values: list[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{deviation} ({', '.join(f'{value:.1f}' for value in values)})"


def _config(options: argparse.Namespace, seed: int, device: str) -> Config:
    config = load_preset(options.preset).replace({"data.root": options.root, "run.seed": seed, "run.device": device})
    config = config.replace({"log.progress": False, "log.to": []})
    return config.replace({"run.epochs": options.epochs}) if options.epochs else config


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("preset", nargs="?", default="cora-gcn")
    parser.add_argument("--root", default="", help="folder with the raw files; empty: $UGTS_DATA, or a download")
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=0, help="0: those of the preset")
    parser.add_argument("--threads", type=int, default=4, help="of torch, in this process")
    return parser.parse_args()


if __name__ == "__main__":
    main()
