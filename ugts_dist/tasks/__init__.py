"""Tasks: what is predicted, with the network, the batches, the loss and the metric for it."""

from __future__ import annotations

from typing import Any

import torch

from ugts_dist.config import Config
from ugts_dist.errors import InputError
from ugts_dist.graphs.configured import Data
from ugts_dist.graphs.molecules import GraphSet
from ugts_dist.graphs.targets import Scale
from ugts_dist.tasks.base import Batches, Measure, Task
from ugts_dist.tasks.graphs import GraphTask
from ugts_dist.tasks.links import LinkTask
from ugts_dist.tasks.nodes import NodeTask, build_model

__all__ = ["Batches", "GraphTask", "LinkTask", "Measure", "NodeTask", "Task", "build_model", "make_task"]


def make_task(data: Data, config: Config, device: torch.device | None = None, scale: Scale | None = None) -> Task[Any]:
    """The task of a dataset.

    Args:
        device: where its loss is computed, by default the CPU.
        scale: of targets, of a network that was trained on other data; by default that of these data.

    Raises InputError if [task] does not fit its labels.
    """
    if config.task.kind == "link":
        if isinstance(data, GraphSet):
            allowed = "auto, classification, multilabel or regression, as the dataset has whole graphs"
            raise InputError(f"task.kind is link, allowed is {allowed} ({data.name})")
        return LinkTask(data, config)
    if isinstance(data, GraphSet):
        return GraphTask(data, config.task, device, scale)
    return NodeTask(data, config.task, device, scale)
