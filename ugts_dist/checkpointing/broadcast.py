"""A checkpoint of the main rank on every rank. The other ranks need not see its disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch

from ugts_dist.checkpointing import checkpoint
from ugts_dist.checkpointing.state import Checkpoint, Tensors
from ugts_dist.distributed.ranks import Ranks


def broadcast_checkpoint(own: Checkpoint | None, ranks: Ranks) -> Checkpoint | None:
    """The main rank's checkpoint, or None if it has none. `own` is None on the other ranks. Collective."""
    text = ranks.broadcast_text(_described(own) if own is not None else "")
    if not text:
        return None
    path, state, shapes = json.loads(text)
    tensors: Tensors = {kind: {} for kind in shapes}
    for kind, group in shapes.items():
        for name, shape in group.items():
            value = own.tensors[kind][name] if own is not None else torch.empty(shape)
            tensors[kind][name] = ranks.broadcast(value.contiguous())
    return replace(Checkpoint.from_json(state), tensors=tensors, path=Path(path))


def initial_scores(path: str, ranks: Ranks) -> Checkpoint | None:
    """The checkpoint of `run.init_scores` on every rank; None if that is empty. Collective."""
    if not path:
        return None
    own = ranks.raise_together(lambda: checkpoint.at(Path(path), best=True) if ranks.is_main else None)
    return broadcast_checkpoint(own, ranks)


def _described(checkpoint: Checkpoint) -> str:
    """Path, state and shapes of the tensors, as JSON."""
    shapes = {
        kind: {name: list(value.shape) for name, value in group.items()} for kind, group in checkpoint.tensors.items()
    }
    return json.dumps([str(checkpoint.path), checkpoint.to_json(), shapes])
