"""The section `batch`: its fields, and what a network allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ugts_dist.config_limits import MAX_COUNT, MAX_FAN_OUT, MAX_THREADS, require, require_count
from ugts_dist.config_sections import ModelConfig

SUMMING = ("gcn", "sage", "gin", "gin-paper")  # architectures that sum up neighbours with fixed values


@dataclass(frozen=True)
class BatchConfig:
    """Full-batch training or sampled mini-batches."""

    size: int = 0
    """Seed nodes per step, over all ranks (graphs, if the labels belong to graphs). 0: all of them."""
    fan_out: tuple[int, ...] = ()
    """In-neighbours sampled per node: one number per layer, beginning at the seed nodes. -1: all."""
    micro_batches: int = 1
    """Micro-batches that a rank cuts its seed nodes of a step into. They run one after the other and accumulate the
    gradient: less memory, same gradient."""
    backend: Literal["ours", "pyg-lib", "torch-sparse"] = "ours"
    """Sampler. With ours, batches depend neither on ranks nor on threads. The others need to be installed and use the
    process's random generator."""
    placement: Literal["auto", "host", "device", "sharded"] = "auto"
    """Memory for graph and features. host: one copy per machine. device: each rank's GPU. auto: the GPU if they fit.
    sharded: each machine keeps the graph and its share of the features, and fetches the rows of the coming batch from
    the others (nodes in sampled batches)."""
    threads: int = -1
    """Threads that sample the next batches during training. 0: none. -1: one per spare core, up to two."""
    first_layer: Literal["sampled", "exact"] = "sampled"
    """Input layer of GCN, SAGE and GIN in sampled batches. exact: the features of all neighbours are aggregated once,
    before training. Then the last number of `batch.fan_out` is not used, and dropout acts on the aggregated features.
    It is faster, and takes memory for a second table of features. In a full batch every layer is exact."""
    cache_bytes: int = -1
    """Memory of a machine for rows of a store's features, in sampled batches, shared out to its ranks. The rows of the
    coming batches are known and read ahead; the one that is needed last makes room. 0: none, pages of the file are read
    when they are touched. -1: two fifths of the free memory, if that is less than 1.25 times the features."""
    norm: Literal["full", "sampled"] = "full"
    """Degrees that normalise the sums of GCN and GIN in a sampled batch. full: degrees in the whole graph, which makes
    the sums unbiased. sampled: degrees within the batch, as in PyG."""

    def __post_init__(self) -> None:
        require_count("batch.size", self.size, 0, MAX_COUNT)
        require_count("batch.micro_batches", self.micro_batches, 1, MAX_COUNT)
        require(-1 <= self.threads <= MAX_THREADS, "batch.threads", self.threads, f"0 to {MAX_THREADS}, or -1")
        require(-1 <= self.cache_bytes < 1 << 60, "batch.cache_bytes", self.cache_bytes, "0 to 2^60 - 1, or -1")
        known = all(k == -1 or 0 < k <= MAX_FAN_OUT for k in self.fan_out)
        require(known, "batch.fan_out", list(self.fan_out), f"1 to {MAX_FAN_OUT} for each layer, or -1")

    def require_fit(self, model: ModelConfig) -> None:
        """Raise InputError for batches that the network can't have."""
        fan_out = list(self.fan_out)
        if self.size and model.depth:
            allowed = f"one number a layer ({model.depth}), as batch.size is {self.size}"
            require(len(fan_out) == model.depth, "batch.fan_out", fan_out, allowed)
        elif not self.size:
            require(not fan_out, "batch.fan_out", fan_out, "nothing, as batch.size is 0 (full batch)")
            require(
                self.micro_batches == 1, "batch.micro_batches", self.micro_batches, "1, as batch.size is 0 (full batch)"
            )
        if self.size and self.first_layer == "exact":
            other = self._other_than_exact(model)
            require(not other, "batch.first_layer", "exact", f"sampled with {other}")
        if self.placement == "sharded":
            allowed = "0 or -1, as batch.placement is sharded"
            require(self.cache_bytes <= 0, "batch.cache_bytes", self.cache_bytes, allowed)

    def _other_than_exact(self, model: ModelConfig) -> str:
        """A setting with which the first layer's aggregation is not the same in every step."""
        settings = {
            "batch.norm sampled": self.norm == "sampled",
            "batch.placement sharded": self.placement == "sharded",
            "model.factory": bool(model.factory),
            f"model.arch {model.arch}": model.arch not in SUMMING,
            "model.depth 1": model.depth == 1,
            f"model.skip {model.skip}": model.skip != "none",
            f"model.graph_dropout {model.graph_dropout}": model.graph_dropout != "none",
        }
        return next((name for name, applies in settings.items() if applies), "")
