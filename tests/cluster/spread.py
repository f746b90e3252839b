"""A driver: how many tasks each host of the cluster runs, as JSON, and on which network its ranks would meet."""

from __future__ import annotations

import json
import os
import socket
import time
from collections import Counter

import ray


def where() -> tuple[str, str]:
    time.sleep(0.5)  # long enough for the other tasks to go to other hosts
    return socket.gethostname(), os.environ["GLOO_SOCKET_IFNAME"]


if __name__ == "__main__":
    ray.init(log_to_driver=False, logging_level="ERROR")
    task = ray.remote(num_cpus=1, scheduling_strategy="SPREAD")(where)
    places = ray.get([task.remote() for _ in range(9)])
    print(json.dumps({"hosts": Counter(host for host, _ in places), "networks": sorted({name for _, name in places})}))
