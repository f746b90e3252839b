"""Capacity of a search's Ray cluster, and its ports."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from tuning.search_options import SearchOptions
from ugts_dist.distributed.processes import listening
from ugts_dist.errors import InputError


def trials_at_once(nodes: Sequence[Mapping[str, float]], search: SearchOptions, source: str) -> int:
    """Number of trials that fit the nodes at a time; each node is a table of resources.

    Raises InputError, with the calculation, if none fits.
    """
    held = [_workers_held(node, search) for node in nodes]
    if sum(held) < search.workers:
        gpus = f" and {search.gpus:g} GPU(s)" if search.gpus else ""
        has = "; ".join(f"{node.get('CPU', 0):g} CPU(s), {node.get('GPU', 0):g} GPU(s)" for node in nodes)
        raise InputError(
            f"{source}: search.workers is {search.workers}, each with {search.cpus} CPU(s){gpus}, but the cluster "
            f"holds {sum(held)} such worker(s): {len(nodes)} node(s) with {has or 'nothing'}"
        )
    return sum(held) // search.workers


def nodes_alive() -> list[dict[str, float]]:
    """The resources of each node."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def ports_line() -> str:
    """A line for the user: where this process, and Ray if it was started here, listen."""
    import ray

    nodes = nodes_alive()
    where = f"Ray at {ray.get_runtime_context().gcs_address}, {len(nodes)} node(s)"
    token = "with" if os.environ.get("RAY_AUTH_MODE") == "token" else "WITHOUT"
    ports = "; ".join(f"{address}, ports {', '.join(map(str, ports))}" for address, ports in listening().items())
    return f"{where}, {token} token authentication; here it listens on {ports or 'ports that are not known'}"


def _workers_held(node: Mapping[str, float], search: SearchOptions) -> int:
    by_cpu = int(node.get("CPU", 0) // search.cpus)
    return min(by_cpu, int(node.get("GPU", 0) // search.gpus)) if search.gpus else by_cpu
