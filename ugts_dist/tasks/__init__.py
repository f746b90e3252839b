"""Tasks: what is predicted, with the network, the batches, the loss and the metric for it."""

from __future__ import annotations

from typing import Any

from ugts_dist.config import Config
from ugts_dist.graphs import molecules
from ugts_dist.graphs.configured import Data
from ugts_dist.graphs.molecules import GraphSet
from ugts_dist.tasks.base import Batches, Measure, Task
from ugts_dist.tasks.graphs import GraphTask
from ugts_dist.tasks.nodes import NodeTask, build_model

__all__ = ["Batches", "GraphTask", "Measure", "NodeTask", "Task", "build_model", "make_task", "metric_of"]


def make_task(data: Data) -> Task[Any]:
    """The task of a dataset."""
    return GraphTask(data) if isinstance(data, GraphSet) else NodeTask(data)


def metric_of(config: Config) -> str:
    """The name of the metric for the configured data."""
    return GraphTask.metric if config.data.name in molecules.FOLDERS else NodeTask.metric
