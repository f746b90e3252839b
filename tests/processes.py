"""Real processes for tests: run a function on several ranks that share a gloo process group."""

from __future__ import annotations

import multiprocessing
import pickle
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist

R = TypeVar("R")

# Ranks are forked from one clean process that has done the slow imports; it has no threads and no autograd engine.
# With GPUs it imports nothing: after an import has looked for them, CUDA does not start in a fork.
_CONTEXT = multiprocessing.get_context("forkserver")
_SLOW_IMPORTS = ["torch", "torch.distributed", "ugts_dist.training.run", "hypothesis", "pytest"]
_CONTEXT.set_forkserver_preload([] if torch.cuda.device_count() else _SLOW_IMPORTS)


class RankError(RuntimeError):
    """A rank raised, died or did not end in time; the message has all known tracebacks."""


def spawn(world_size: int, fn: Callable[..., R], *args: Any, timeout: float = 120.0) -> list[R]:
    """Run `fn(rank, *args)` on `world_size` new processes in a gloo process group, each with one thread.

    `fn` must be defined at the top of a module; arguments and results are pickled. The ranks meet through a file,
    so that no port can be taken.

    Returns: the results, by rank.

    Raises: RankError, after every process has ended, if a rank fails or `timeout` seconds pass.
    """
    work = pickle.dumps((fn, args))
    with tempfile.TemporaryDirectory() as folder:
        ranks: dict[Connection, int] = {}
        processes = []
        for rank in range(world_size):
            receiver, sender = _CONTEXT.Pipe(duplex=False)
            process = _CONTEXT.Process(
                target=_rank, args=(rank, world_size, str(Path(folder, "meet")), work, sender, timeout), daemon=True
            )
            process.start()
            sender.close()  # so that the end of the process ends the pipe
            processes.append(process)
            ranks[receiver] = rank
        try:
            return _collect(ranks, timeout)
        finally:
            for process in processes:
                process.join(5.0 if not ranks else 0.0)
                if process.is_alive():
                    process.kill()
                    process.join()


def _collect(ranks: dict[Connection, int], timeout: float) -> list[Any]:
    """Every rank's result. Ranks that return one are removed from `ranks`."""
    results: dict[int, Any] = {}
    errors: dict[int, str] = {}
    deadline = time.monotonic() + timeout
    while ranks:
        ready = wait(list(ranks), max(0.0, deadline - time.monotonic()))
        if not ready:
            break
        for receiver in ready:
            assert isinstance(receiver, Connection)
            try:
                succeeded, value = pickle.loads(receiver.recv_bytes())
            except EOFError:
                succeeded, value = False, "ended without a result"
            rank = ranks.pop(receiver)
            if succeeded:
                results[rank] = value
            else:
                errors[rank] = value
                deadline = min(deadline, time.monotonic() + 1.0)  # the others may report more, or hang
    if errors:
        raise RankError("\n".join(f"rank {rank}: {errors[rank]}" for rank in sorted(errors)))
    if ranks:
        raise RankError(f"no result within {timeout:g} s from rank {', '.join(map(str, sorted(ranks.values())))}")
    return [results[rank] for rank in range(len(results))]


def _rank(rank: int, world_size: int, meet: str, work: bytes, sender: Connection, timeout: float) -> None:
    torch.set_num_threads(1)
    try:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{meet}",
            rank=rank,
            world_size=world_size,
            timeout=timedelta(seconds=2.0 * timeout),  # the parent's own timeout comes first
        )
        fn, args = pickle.loads(work)
        message = pickle.dumps((True, fn(rank, *args)))
        dist.barrier()  # no rank goes away while another still talks to it
    except BaseException:
        sender.send_bytes(pickle.dumps((False, traceback.format_exc())))
        raise SystemExit(1) from None
    dist.destroy_process_group()
    sender.send_bytes(message)
