"""`ugts analyse ...`: opens the network and measures on all ranks; the main rank shows and writes the result."""

from __future__ import annotations

from pathlib import Path

from ugts_dist.analysis.base import Analysis
from ugts_dist.analysis.kinds import ANALYSES
from ugts_dist.analysis.output import OutputFiles, write_finding
from ugts_dist.analysis.subject import Source, open_config
from ugts_dist.checkpointing.network_files import network_file
from ugts_dist.checkpointing.saved_network import Named
from ugts_dist.distributed.ranks import ranks_from_environment


def run(analysis: Analysis) -> None:
    """Run an analysis. Raises InputError, on every rank, for every mistake in its options."""
    name = next(name for name, kind in ANALYSES.items() if isinstance(analysis, kind))
    with ranks_from_environment(analysis.device, analysis.timeout) as ranks:
        source = Source(Path(analysis.path), ranks, Named(analysis.graph, analysis.root), analysis.spill)
        config = ranks.raise_together(lambda: open_config(source.path, source.named))
        files = OutputFiles.of(analysis, name, network_file(source.path), config)
        ranks.raise_together(lambda: files.check() if ranks.is_main else None)
        present = analysis.measure(source)
    # The other ranks have ended: the main rank may take its time.
    if ranks.is_main:
        write_finding(present(), files, analysis)
