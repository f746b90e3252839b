"""What a GPU's host launches to draw a batch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.alone import needs_triton

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "operations.py"


@needs_triton
def test_a_batch_of_three_hops_takes_few_launches() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--sample", "4", "3", "2"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    counted = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    assert list(counted) == ["sample 4/3/2", "sample 4/3/2 torch"]
    with_kernels, without = map(int, counted.values())
    kernels_of_a_hop = 5
    assert 3 * kernels_of_a_hop < with_kernels <= 80 < without
