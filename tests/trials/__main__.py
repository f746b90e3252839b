"""Try every case and print the table: `python -m tests.trials [WORD]`, those whose topic or name has the word."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from tests.trials.case import all_cases


def main() -> int:
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    torch.set_num_threads(1)
    table, failed, tried = Table("topic", "case", "expected", "seen", "", show_lines=True), 0, 0
    for case in all_cases():
        if word not in case.topic and word not in case.name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            seen = case.seen(Path(folder)).replace(folder, "FOLDER")
        holds = case.holds(seen)
        tried, failed = tried + 1, failed + (not holds)
        table.add_row(case.topic, case.name, case.expected, ascii(seen)[1:-1][:300], "as expected" if holds else "NOT")
    Console(width=180, markup=False).print(table)
    print(f"{tried} cases, {failed} not as expected")
    return int(failed > 0 or tried == 0)


if __name__ == "__main__":
    sys.exit(main())
