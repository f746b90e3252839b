"""A run that is killed at random moments and restarted ends with the same bits as an uninterrupted one.

    python -m tests.faults.kills --trials 200 --seed 0

Each trial kills one rank or the launcher, once or several times, and the same command finishes the run.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.launch import EPOCHS, Launch, launch, train_arguments, warm_up
from tests.faults.observe import BOUND, Outcome, left_over, outcome, state, until

VICTIMS = ("rank 0", "rank 1", "launcher")
MOMENTS = ("start-up", "any", "write", "evaluation", "end")

_LAST_EPOCH = f'{{"epoch": {EPOCHS - 1},'
_TELLS = re.compile(r"^ugts: rank (\d) \(process (\d+) on \S+\) died, or did not answer", re.MULTILINE)


@dataclass(frozen=True)
class Plan:
    """Which process to kill, and when.

    Attributes:
        count: for `write` and `evaluation`, which of them.
        part: 0 to 1; where within the moment.
        at_once: whether to restart while processes that survived the kill may still be running.
    """

    victim: str
    moment: str
    count: int
    part: float
    at_once: bool

    def __str__(self) -> str:
        return f"{self.victim}, {self.moment}{'' if not self.count else f' {self.count}'}"


@dataclass(frozen=True)
class Reference:
    """An uninterrupted run, and how long its parts took."""

    outcome: Outcome
    start: float
    whole: float


@dataclass
class Trial:
    """The outcome; `problems` is empty if everything was right."""

    seed: int
    plans: list[Plan]
    killed: list[str] = field(default_factory=list)
    resumed_from: list[str] = field(default_factory=list)
    writing: int = 0
    torn: int = 0
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        plans = " + ".join(f"{plan} ({killed})" for plan, killed in zip(self.plans, self.killed, strict=False))
        resumed = ", ".join(self.resumed_from) or "the beginning"
        told = "; ".join(self.problems) or "identical"
        return f"seed {self.seed}: {plans}; from {resumed}; {told}; {self.seconds:.1f} s"


def reference(place: Path) -> Reference:
    """The run that the trials are compared with."""
    warm_up()
    folder, started = place / "alone", time.monotonic()
    one = launch(train_arguments(folder), place)
    until((folder / "metrics.jsonl").exists)
    start = time.monotonic() - started
    if one.wait() != 0:
        raise RuntimeError(one.told())
    return Reference(outcome(folder), start, time.monotonic() - started)


def plans(seed: int) -> list[Plan]:
    """The kills of a trial: one, sometimes two or three."""
    generator = random.Random(seed)
    kills: list[Plan] = []
    while not kills or (len(kills) < 3 and generator.random() < 0.3):
        moment = MOMENTS[(seed + len(kills)) % len(MOMENTS)]
        counted = moment in ("write", "evaluation")
        kills.append(
            Plan(
                generator.choices(VICTIMS, (6, 1, 1) if moment == "write" else (1, 1, 1))[0],
                moment,
                generator.randint(1, 8) if counted else 0,
                generator.random(),
                generator.random() < 0.5,
            )
        )
    return kills


def trial(seed: int, place: Path, alone: Reference, chosen: list[Plan] | None = None) -> Trial:
    """Kill, restart, compare."""
    done = Trial(seed, plans(seed) if chosen is None else chosen)
    folder, started = place / "run", time.monotonic()
    launches: list[Launch] = []
    try:
        for plan in done.plans:
            launches.append(launch(train_arguments(folder), place))
            _kill(launches[-1], folder, plan, alone, done)
            if not plan.at_once:
                launches[-1].wait()
        launches.append(launch(train_arguments(folder), place))
        if launches[-1].wait() != 0:
            done.problems.append(f"the last launch failed:\n{launches[-1].told()}")
        for one in launches:
            one.wait()
        done.resumed_from += [step for one in launches for step in re.findall(r"from \S+/(step-\S+)", one.told())]
        if not done.problems:
            done.problems += [f"{name} differs" for name in outcome(folder).differs(alone.outcome)]
    except (TimeoutError, ValueError, OSError) as error:
        done.problems.append(str(error))
    finally:
        for one in launches:
            one.end()
    done.seconds = time.monotonic() - started
    return done


def _kill(one: Launch, folder: Path, plan: Plan, alone: Reference, done: Trial) -> None:
    """Wait for the moment, kill, and check that a lost rank is named."""
    _await(one, folder, plan, alone)
    pid = one.pid if plan.victim == "launcher" else one.rank(int(plan.victim[-1]))
    training = (folder / "metrics.jsonl").exists() and _LAST_EPOCH not in (folder / "metrics.jsonl").read_text()
    if not one.process.is_alive() or pid not in one.alive():
        done.killed.append("had ended")
        return
    done.writing += bool(_being_written(folder))
    os.kill(pid, signal.SIGKILL)
    done.killed.append("training" if training else "around it")
    if plan.victim == "rank 0":
        until(lambda: state(pid) in "ZX")
        done.torn += bool(folder.exists() and left_over(folder))
    if training and plan.victim != "launcher":
        one.wait()
        named = {(int(number), int(process)) for number, process in _TELLS.findall(one.told())}
        # None if the launcher, which also reports the death, ended the others first.
        if named - {(int(plan.victim[-1]), pid)}:
            done.problems.append(f"named as lost: {named or 'nobody'}, killed was process {pid}:\n{one.told()}")


def _await(one: Launch, folder: Path, plan: Plan, alone: Reference) -> None:
    def begun() -> bool:
        return plan.victim == "launcher" or one.rank(int(plan.victim[-1])) > 0

    conditions: dict[str, tuple[Callable[[], bool], float]] = {
        "start-up": (lambda: True, alone.start),
        "any": (lambda: True, alone.whole),
        "write": (_nth(lambda: _being_written(folder), plan.count), 0.003),
        "evaluation": (_nth(lambda: str((one.notes / "evaluating").exists() or ""), plan.count), 0.01),
        "end": (lambda: _ends(folder), 0.06),
    }
    condition, length = conditions[plan.moment]
    until(lambda: not one.process.is_alive() or condition(), pause=0.0003)
    time.sleep(plan.part * length)
    until(lambda: not one.process.is_alive() or begun())


def _nth(seen: Callable[[], str], count: int) -> Callable[[], bool]:
    """True once `seen` has had its `count`-th new value that is not empty."""
    values: list[str] = [""]

    def condition() -> bool:
        value = seen()
        if value != values[-1]:
            values.append(value)
        return len([value for value in values if value]) >= count

    return condition


def _being_written(folder: Path) -> str:
    """The name of a checkpoint or of a best network that is being written."""
    for place, prefix in ((folder / "checkpoints", ".step-"), (folder, ".best.")):
        try:
            names = os.listdir(place)
        except OSError:
            continue
        for name in names:
            if name.startswith(prefix):
                return name
    return ""


def _ends(folder: Path) -> bool:
    try:
        return _LAST_EPOCH in (folder / "metrics.jsonl").read_text()
    except OSError:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the first trial; the others follow")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    place = Path(tempfile.mkdtemp(prefix="kills-"))
    alone = reference(place)
    failed: list[Trial] = []
    counts: Counter[str] = Counter()
    for seed in range(options.seed, options.seed + options.trials):
        done = trial(seed, place / str(seed), alone)
        print(done, flush=True)
        counts["kills"] += len([how for how in done.killed if how != "had ended"])
        counts["while training"] += done.killed.count("training")
        counts["while a checkpoint or best network was being written"] += done.writing
        counts["that left something half-written"] += done.torn
        counts.update(plan.victim for plan, how in zip(done.plans, done.killed, strict=False) if how != "had ended")
        if done.problems:
            failed.append(done)
        else:
            shutil.rmtree(place / str(seed))
    print(f"{options.trials} trials, {len(failed)} with a problem (bound for hanging: {BOUND:g} s)")
    print(", ".join(f"{name}: {count}" for name, count in counts.items()))
    if failed:
        print(f"seeds {', '.join(str(done.seed) for done in failed)}; their folders are in {place}")
        sys.exit(1)
    shutil.rmtree(place)


if __name__ == "__main__":
    main()
