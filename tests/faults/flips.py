"""One bit flipped, or the end cut off, in any file that the program reads: thousands of times.

    python -m tests.faults.flips --files 10000 --seed 0

Ctrl-C ends it with the table of what has been tried.

The files are those of a graph store, a run that was stopped, one that is finished, a ticket and a dense network. For
each damaged file, a process of its own trains with the store, goes on with the run, or evaluates the network, as the
commands do. Nothing may end the interpreter, end in a traceback or hang; what is damaged is named and refused, or named
and passed over. Else the result has to be the same as with the whole file. Where a value may change into another valid
one that nothing can tell, `MAY_DIFFER` says why.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from random import Random

import torch

from tests.faults.samples import Sample, Seen, look, prepared

MAY_DIFFER = {
    "store/*.npy": "a value that is still valid; --verify names the file",
    "run/config.toml": "a setting that no result depends on, which a report shows",
    "page/config.toml": "the same",
    "*/metrics.jsonl": "a number of an earlier epoch, which a report shows; no result is computed from it",
}
"""Files that may change a result without a word, and why."""

_FIRST = 200  # bytes that say how to read the rest of a file


@dataclass(frozen=True)
class Case:
    """The outcome of one damaged file.

    Attributes:
        file: below the folder of the samples.
        outcome: in a few words; `problem` is empty if it is right.
    """

    number: int
    file: str
    damage: str
    outcome: str
    problem: str = ""


class Examination:
    """Samples in a folder, damaged and restored one file at a time."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._samples = prepared(place)
        shutil.copytree(place / "work", place / "whole")
        self._whole = []
        for sample in self._samples:
            self._whole.append(look(sample))
            self._restore(sample)
        self._files = [sample.files for sample in self._samples]
        wrong = [one.told or one.crash for seen in self._whole for one in seen if one.code]
        if wrong:
            raise RuntimeError(f"what is whole is refused: {wrong[0]}")

    def case(self, number: int) -> Case:
        """Damage one file. The number alone determines which file, and how."""
        random = Random(number)
        (which,) = random.choices(range(len(self._samples)), [sample.share for sample in self._samples])
        sample, path = self._samples[which], random.choice(self._files[which])
        damage = _damage(path, random)
        try:
            outcome, problem = self._judge(path, look(sample), self._whole[which])
        finally:
            self._restore(sample)
        return Case(number, str(path.relative_to(self._place / "work")), damage, outcome, problem)

    def _judge(self, path: Path, seen: list[Seen], whole: list[Seen]) -> tuple[str, str]:
        """The outcome, and what is wrong with it."""
        name = str(path.relative_to(self._place / "work"))
        outcomes: list[str] = []
        for one, wanted in zip(seen, whole, strict=False):
            if one.crash:
                return "crash", one.crash
            if one.code:
                return self._refused(path, one, outcomes)
            if one.result == wanted.result:
                outcomes.append("named and passed over" if path.name in one.told else "the same result")
            elif not one.result and str(path) in one.told:
                outcomes.append("named in the report")
            elif path.name == "config.toml" and "was found on other data than this graph" in one.told:
                outcomes.append("told as other data")
            elif any(fnmatch(name, pattern) for pattern in MAY_DIFFER):
                outcomes.append("another result")
            else:
                return "another result", f"without a word: {one.told!r:.200}"
        if "another result" in outcomes and name.startswith("store/"):
            return "another result", "which --verify does not find"
        return " / ".join(dict.fromkeys(outcomes)), ""

    def _refused(self, path: Path, one: Seen, before: list[str]) -> tuple[str, str]:
        if not one.told.isprintable():
            return "refused", f"not one clear line: {one.told[:300]!r}"
        outcome = "refused"
        if path.name not in one.told and str(path.parent) not in one.told:
            if path.name not in ("config.toml", "x.npy"):
                return "refused", f"the file is not named: {one.told}"
            outcome = "refused for a value that is valid by itself"
        if not before:
            return outcome, ""
        return f"{before[-1]}; --verify finds it" if path.parent.name == "store" else f"{before[-1]}; {outcome}", ""

    def _restore(self, sample: Sample) -> None:
        shutil.rmtree(sample.folder)
        shutil.copytree(self._place / "whole" / sample.folder.name, sample.folder)
        shutil.rmtree(self._place / "out")
        (self._place / "out").mkdir()


def _damage(path: Path, random: Random) -> str:
    """Flip a bit of the file, or cut off its end. Returns a description."""
    data = path.read_bytes()
    path.unlink()
    if not data or random.random() < 0.15:
        size = random.randrange(len(data)) if data else 0
        path.write_bytes(data[:size] if data else b"\0")
        return f"cut to {size} of {len(data)} bytes"
    place = random.randrange(min(len(data), _FIRST) if random.random() < 0.15 else len(data))
    bit = random.randrange(8)
    path.write_bytes(data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :])
    return f"bit {bit} of byte {place} of {len(data)} flipped"


def examined(numbers: range, place: Path) -> Iterator[Case]:
    """The cases of these numbers."""
    examination = Examination(place)
    for number in numbers:
        yield examination.case(number)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="of the first file; the others follow")
    parser.add_argument("--show", action="store_true", help="every case")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    started, failed = time.monotonic(), 0
    outcomes: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory(prefix="flips-") as folder, contextlib.suppress(KeyboardInterrupt):
        for case in examined(range(options.seed, options.seed + options.files), Path(folder, "place")):
            outcomes[case.file.partition("/")[0], "PROBLEM" if case.problem else case.outcome] += 1
            failed += bool(case.problem)
            if case.problem or options.show:
                print(ascii(f"{case.number}: {case.file}: {case.damage}: {case.outcome}: {case.problem}"), flush=True)
    for (kind, outcome), count in sorted(outcomes.items()):
        print(f"{kind:10} {outcome:60} {count:6}")
    print(f"{sum(outcomes.values())} files, {failed} with a problem, {time.monotonic() - started:.0f} s")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
