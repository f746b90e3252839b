"""Thousands of damaged files, each of which has to be refused in one line that names it.

    python -m tests.faults.damage --files 2000 --seed 0

The files are parts of a checkpoint, a ticket and a dense network. They are read in a process with little memory to
spare, so that one which asks for much fails there.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import FrameType

import torch

from tests.faults.damaged_bytes import DAMAGES, MARK, Damage
from tests.faults.hostile import STATE, checkpoint_tensors, write_state
from tests.faults.hostile_networks import DENSE, TICKET
from tests.faults.launch import CONTEXT
from ugts_dist.checkpointing import checkpoint
from ugts_dist.config import Config, load_preset
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError
from ugts_dist.graphs.configured import load_data
from ugts_dist.tasks import make_task
from ugts_dist.training.run import evaluate, run
from ugts_dist.training.trainer import make_trainer

OLDER, NEWER = "step-00000010", "step-00000015"
"""Two checkpoints of a run; the newer one is damaged."""

SPARE_BYTES = 768 * 2**20
SECONDS = 60

HOSTILE: dict[str, list[Damage]] = {
    "state.json": STATE,
    "scores.safetensors": checkpoint_tensors("trained"),
    "optimizer.safetensors": checkpoint_tensors("optimizer"),
    "best.ticket": [],
    "net.ticket": TICKET,
    "net.safetensors": DENSE,
}
"""By file, what somebody who knows the formats would do to it."""


@dataclass(frozen=True)
class Case:
    """The outcome of one file: `told` is the message that refused it; empty if it was accepted."""

    number: int
    what: str
    told: str
    problem: str = ""


def config(folder: Path, method: str = "ugts") -> Config:
    return load_preset("digits").replace(
        {
            "supermask.method": method,
            "model.width": 16,
            "run.epochs": 10,
            "run.folder": str(folder),
            "run.select": "any",
            "checkpoint.every_steps": 5,
            "checkpoint.keep_last": 9,
            "log.progress": False,
            "log.to": [],
        }
    )


class Examination:
    """Samples that are damaged and restored one by one."""

    def __init__(self, place: Path) -> None:
        self._place, self._run = place, place / "run"
        run(config(self._run), Ranks())
        run(config(place / "dense", "dense"), Ranks())
        for path in checkpoint.folders(self._run):
            if path.name not in (OLDER, NEWER):
                shutil.rmtree(path)
        shutil.copy(self._run / "best.ticket", place / "net.ticket")
        shutil.copy(place / "dense/best.safetensors", place / "net.safetensors")
        self._checkpoints = self._run / "checkpoints"
        self._task = make_task(load_data(config(self._run)), config(self._run))
        shutil.copytree(self._checkpoints, place / "whole")
        for name in ("net.ticket", "net.safetensors"):
            shutil.copy(place / name, place / "whole" / name)
        if self._told("state.json") or self._told("net.ticket") or self._told("net.safetensors"):
            raise RuntimeError("what is whole is refused")

    def case(self, number: int) -> Case:
        """Damage a file, read it, and restore it."""
        random = Random(number)
        name = what = random.choice([*HOSTILE, "checkpoint"])
        try:
            if name == "checkpoint":
                what, damaged = self._mixed(random), self._checkpoints / NEWER
            else:
                damaged = self._path(name)
                hostile = HOSTILE[name] and random.random() < 0.6
                damage = random.choice(HOSTILE[name] if hostile else DAMAGES)
                what = f"{name}: {damage(damaged, random)}"
            told = self._told(name)
            return Case(number, what, told, _complaint(told, damaged))
        except BaseException as error:
            return Case(number, what, "", f"{type(error).__name__}: {error}"[:500])
        finally:
            self._restore()

    def _path(self, name: str) -> Path:
        return self._place / name if name.startswith("net.") else self._checkpoints / NEWER / name

    def _mixed(self, random: Random) -> str:
        """Put files and fields of one checkpoint into another."""
        newer, older = self._checkpoints / NEWER, self._checkpoints / OLDER
        names = ["state.json", "scores.safetensors", "optimizer.safetensors"]
        kind = random.choice(("file", "files", "name", "swap", "step", "empty"))
        if kind == "file":
            name = random.choice(names)
            (newer / name).unlink()
            shutil.copy(older / name, newer / name)
            return f"{name} of {OLDER}"
        if kind == "files":
            shutil.rmtree(newer)
            shutil.copytree(older, newer)
            return f"all of {OLDER}"
        if kind == "name":
            name = f"step-{random.randint(16, 10**8):08d}{random.choice(('', '-epoch-7', '-epoch-99'))}"
            newer.rename(self._checkpoints / name)
            return f"named {name}"
        if kind == "step":
            file = newer / "state.json"
            values = json.loads(file.read_text().partition("\n")[2])
            other = json.loads((older / "state.json").read_text().partition("\n")[2])
            field = random.choice(("epoch", "step"))
            values[field] = other[field] if values[field] != other[field] else other[field] + 1
            write_state(file, json.dumps(values))
            return f"{field} of {OLDER}"
        if kind == "swap":
            one, other_name = random.sample([*names, "best.ticket"], 2)
            (newer / one).rename(newer / "x")
            (newer / other_name).rename(newer / one)
            (newer / "x").rename(newer / other_name)
            return f"{one} and {other_name} swapped"
        shutil.rmtree(newer)
        random.choice((newer.mkdir, newer.touch, lambda: newer.symlink_to(newer.name), lambda: os.mkfifo(newer)))()
        return "an empty folder, a file, a link to itself or a pipe instead of the checkpoint"

    def _told(self, name: str) -> str:
        """The message with which it is refused."""
        if name.startswith("net."):
            return self._told_of_network(self._place / name)
        newest, problems = checkpoint.newest(self._run)
        if newest is None:
            raise AssertionError("the older checkpoint is refused as well")
        if newest.path.name == OLDER:
            (problem,) = problems
            return problem
        settings = config(self._run)
        try:
            make_trainer(settings, self._task, Ranks(), newest)
        except InputError as error:
            return str(error)
        return ""

    def _told_of_network(self, path: Path) -> str:
        try:
            for value in evaluate(path, Ranks()).saved.values():
                f"{value:.4f}"
        except InputError as error:
            return str(error)
        return ""

    def _restore(self) -> None:
        for path in self._checkpoints.iterdir():
            if path.name != OLDER:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        shutil.copytree(self._place / "whole" / NEWER, self._checkpoints / NEWER)
        for name in ("net.ticket", "net.safetensors"):
            path = self._place / name
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink(missing_ok=True)
            shutil.copy(self._place / "whole" / name, path)


def _complaint(told: str, damaged: Path) -> str:
    """What is wrong with a message."""
    if not told:
        return "it was not refused"
    if not told.isprintable() or len(told) > len(str(damaged)) + 1000:
        return f"not one clear line: {told[:300]!r}"
    if not told.startswith(str(damaged.parent)):
        return f"the file is not named: {told}"
    return ""


def examine(place: str, numbers: list[int], results: str) -> None:
    """Write a line for each file; the work of one process."""
    torch.set_num_threads(1)
    os.chdir(place)
    examination = Examination(Path(place))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + SPARE_BYTES, used + SPARE_BYTES))
    signal.signal(signal.SIGALRM, _too_long)
    with open(results, "w") as file:
        for number in numbers:
            print(json.dumps({"began": number}), file=file, flush=True)
            signal.alarm(SECONDS)
            case = examination.case(number)
            signal.alarm(0)
            print(json.dumps(vars(case)), file=file, flush=True)


class _Hang(BaseException):
    """No handler of errors catches it."""


def _too_long(number: int, frame: FrameType | None) -> None:
    raise _Hang(f"it took longer than {SECONDS} s")


def examined(numbers: list[int], place: Path) -> Iterator[Case]:
    """Every file's case; those that end the process too."""
    left = list(numbers)
    while left:
        work = Path(tempfile.mkdtemp(dir=place))
        process = CONTEXT.Process(target=examine, args=(str(work), left, str(place / "results")))
        process.start()
        process.join()
        lines = [json.loads(line) for line in (place / "results").read_text().splitlines()]
        cases = [Case(**line) for line in lines if "what" in line]
        yield from cases
        left = left[len(cases) :]
        if left:
            if not lines or "began" not in lines[-1]:
                raise RuntimeError(f"the process ended with {process.exitcode} between two files")
            yield Case(left.pop(0), "", "", f"it ended the process with {process.exitcode}")
        if list(work.rglob(MARK)):
            yield Case(-1, "", "", "code was run")
        shutil.rmtree(work)


@contextmanager
def temporary() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="damage-") as folder:
        yield Path(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0, help="of the first file; the others follow")
    parser.add_argument("--show", action="store_true", help="every message")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    started, failed = time.monotonic(), 0
    kinds: Counter[str] = Counter()
    with temporary() as place:
        for case in examined(list(range(options.seed, options.seed + options.files)), place):
            kinds[case.what.partition(":")[0] if ":" in case.what else "checkpoint"] += 1
            failed += bool(case.problem)
            if case.problem or options.show:
                print(ascii(f"{case.number}: {case.what}: {case.problem or case.told}"), flush=True)
    print(f"{sum(kinds.values())} files, {failed} with a problem, {time.monotonic() - started:.0f} s")
    print(", ".join(f"{name}: {count}" for name, count in kinds.items()))
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
