"""Commands that are not what was meant."""

from __future__ import annotations

from pathlib import Path

from tests.trials.case import case, ugts


@case(r"exit 2: ugts: unknown command 'unknown'")
def unknown_command(folder: Path) -> str:
    """A command that does not exist."""
    return ugts("unknown").told
