"""Intact files of every kind that the program reads, and actions on them, each in its own process."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import json
import os
import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ugts_dist.arguments import config_of_run
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.graphs.store import open_store, verify_store
from ugts_dist.graphs.store_files import META
from ugts_dist.graphs.store_writer import StoreWriter
from ugts_dist.report.command import write_report
from ugts_dist.report.options import ReportOptions
from ugts_dist.report.run_files import read_run
from ugts_dist.tickets.options import PredictOptions
from ugts_dist.tickets.predict import predict
from ugts_dist.training.run import evaluate, run

SPARE_BYTES = 2**30
SECONDS = 60

TINY: dict[str, Any] = {
    "model.width": 4,
    "batch.size": 16,
    "batch.fan_out": (4, 4),
    "optim.lr": 0.05,
    "run.epochs": 3,
    "run.select": "any",
    "checkpoint.every_steps": 2,
    "checkpoint.keep_last": 9,
    "log.progress": False,
}

Action = Callable[[], str]


@dataclass(frozen=True)
class Sample:
    """A folder whose files are damaged, and the actions on it until one is refused.

    Attributes:
        share: of the cases, which are spread evenly over the files of the folder.
        actions: each returns a text that depends on the files alone.
    """

    folder: Path
    share: float
    actions: tuple[Action, ...]

    @property
    def files(self) -> list[Path]:
        """Every existing file, in a fixed order."""
        skipped = (".lock",)  # holds the process that has the folder, for a message
        return sorted(path for path in self.folder.rglob("*") if path.is_file() and path.name not in skipped)


def make_samples(place: Path) -> None:
    """Make the files in `work`, a folder of `place`."""
    work, out = place / "work", place / "out"
    store, finished, stopped = work / "store", work / "run", work / "stopped"
    out.mkdir(parents=True)
    write_graph(store)
    open_store(store)
    config = Config().replace(TINY | {"data.name": str(store)})
    run(config.replace({"run.folder": str(finished)}), Ranks())
    run(config.replace({"run.folder": str(out / "dense"), "supermask.method": "dense"}), Ranks())
    shutil.copytree(finished, stopped)
    (stopped / "result.json").unlink()
    checkpoints = sorted((stopped / "checkpoints").iterdir())
    for path in checkpoints[:2] + checkpoints[5:]:
        shutil.rmtree(path)
    shutil.copytree(finished, work / "page")
    for file, source in (("net.ticket", finished / "best.ticket"), ("net.safetensors", out / "dense/best.safetensors")):
        folder = work / file.partition(".")[2]
        folder.mkdir()
        shutil.copy(source, folder / file)
        shutil.copy(source.with_name("config.toml"), folder)
    shutil.rmtree(out / "dense")


def samples(place: Path) -> list[Sample]:
    """What `make_samples` made."""
    work, out = place / "work", place / "out"
    store, ticket, dense = work / "store", work / "ticket/net.ticket", work / "safetensors/net.safetensors"
    one = TINY | {"data.name": str(store), "run.folder": str(out / "run"), "run.epochs": 2}
    config = Config().replace(one | {"batch.size": 48, "log.to": [], "checkpoint.every_steps": 0})
    trained, checked = partial(_train, config), partial(_verify, store)
    return [
        Sample(store, 46, (trained, checked)),
        Sample(work / "stopped", 20, (partial(_resume, work / "stopped"),)),
        Sample(work / "run", 13, (partial(_result, work / "run"), partial(_look_at, work / "run"))),
        Sample(work / "page", 1, (partial(_report, work / "page", out / "page.html"),)),
        Sample(ticket.parent, 10, (partial(_evaluate, ticket), partial(_predict, ticket, out / "predicted.csv"))),
        Sample(dense.parent, 10, (partial(_evaluate, dense), partial(_predict, dense, out / "predicted.csv"))),
    ]


def _train(config: Config) -> str:
    result, folder = run(config, Ranks())
    return f"{dataclasses.replace(result, seconds=0.0)} {_digest(folder / 'best.ticket')}"


def _resume(folder: Path) -> str:
    return _train(config_of_run(folder))


def _result(folder: Path) -> str:
    """Of a run that is finished; its network is not looked at, but by those who use it."""
    result, _ = run(config_of_run(folder), Ranks())
    return str(dataclasses.replace(result, seconds=0.0))


def _verify(store: Path) -> str:
    if verify_store(store):
        return "whole"
    print(f"{store / META}: has no checksum", file=sys.stderr)
    return ""


def _look_at(folder: Path) -> str:
    """What a report is made of; empty if the report itself names a damaged file."""
    files = read_run(folder)
    if files.folder.problems:
        print(*files.folder.problems, sep="\n", file=sys.stderr)
        return ""
    return f"{files.config} {files.epochs} {files.result} {files.network}"


def _report(folder: Path, out: Path) -> str:
    write_report(ReportOptions((str(folder),), str(out)))
    return _look_at(folder)


def _evaluate(file: Path) -> str:
    evaluation = evaluate(file, Ranks())
    return f"{evaluation.measured} {evaluation.saved}"


def _predict(file: Path, out: Path) -> str:
    predict(PredictOptions(str(file), str(out)), Ranks())
    return _digest(out)


def _digest(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()


def write_graph(folder: Path) -> None:
    """A small graph with everything that a store may have."""
    rng = np.random.default_rng(0)
    keys = np.unique(rng.integers(0, 120 * 120, 700))
    keys = keys[keys // 120 != keys % 120]
    arrays: dict[str, Any] = {
        "indptr": np.searchsorted(keys // 120, np.arange(121)),
        "indices": (keys % 120).astype(np.int32),
        "x": rng.standard_normal((120, 5)).astype(np.float32),
        "y": rng.integers(0, 3, 120),
        "train": np.arange(0, 48),
        "valid": np.arange(48, 80),
        "test": np.arange(80, 120),
    }
    origin = {"split": 0, "row_normalize": False, "scale": 0.5}
    with StoreWriter(folder, "graph", 3, origin, class_names=("a", "b", "c")) as writer:
        for name, values in arrays.items():
            writer.write(name, values.dtype, [values], values.shape[1:])
        writer.write_extra("other_ids", np.dtype(np.int64), [np.arange(120) * 3])
        writer.finish()


@dataclass(frozen=True)
class Seen:
    """The outcome of an action on the command line: its exit code, its messages and its result.

    `crash` says how the interpreter ended, or which exception nobody caught.
    """

    code: int
    told: str
    result: str
    crash: str = ""


def look(sample: Sample) -> list[Seen]:
    """Run the actions on the current files until one is refused, in a child process with little memory."""
    seen = in_child(lambda: [vars(one) for one in _all_seen(sample)])
    return [Seen(-1, "", "", seen)] if isinstance(seen, str) else [Seen(**one) for one in seen]


def _all_seen(sample: Sample) -> list[Seen]:
    seen: list[Seen] = []
    for action in sample.actions:
        if not seen or seen[-1].code == 0:
            seen.append(_seen(action))
    return seen


def _seen(action: Action) -> Seen:
    with contextlib.redirect_stderr(io.StringIO()) as told:
        try:
            result = action()
        except (InputError, FloatingPointError) as error:  # a command prints these in one line
            return Seen(2, str(error), "")
        except BaseException as error:
            return Seen(-1, "", "", f"{type(error).__name__}: {error}"[:500])
    return Seen(0, told.getvalue(), result)


def in_child(function: Callable[[], Any]) -> Any:
    """What a function returns, as JSON carries it, in a forked process; or a text that says how the process ended."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + SPARE_BYTES, used + SPARE_BYTES))
            signal.alarm(SECONDS)
            with os.fdopen(writing, "w") as pipe:
                json.dump(function(), pipe)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == 0:
        return json.loads(answer)
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def prepared(place: Path) -> list[Sample]:
    """The samples, made by a child; what it imported is imported here, so that no later child pays for it."""

    def make() -> list[str]:
        make_samples(place)
        for sample in samples(place):
            _all_seen(sample)
            shutil.rmtree(place / "out", ignore_errors=True)
        return list(sys.modules)

    modules = in_child(make)
    if isinstance(modules, str):
        raise RuntimeError(f"the samples could not be made: {modules}")
    for name in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    shutil.rmtree(place)
    in_child(lambda: make_samples(place))
    return samples(place)
