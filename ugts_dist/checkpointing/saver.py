"""Saving during training: a thread of the main rank writes checkpoints and the best network."""

from __future__ import annotations

import logging
import shlex
import signal
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import torch
from torch import Tensor

from ugts_dist.atomic import flush
from ugts_dist.checkpointing import checkpoint
from ugts_dist.checkpointing.saved_network import NetworkSnapshot
from ugts_dist.checkpointing.state import Checkpoint, Progress, Tensors
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.distributed.stopping import StopAgreement, StopRequest
from ugts_dist.errors import InterruptedRunError, StoppedError
from ugts_dist.finite import all_of, diverged, zero_if_finite
from ugts_dist.graphs.checksum import DataChecksum

_log = logging.getLogger(__name__)

_PART_OF_TIME = 0.02  # fraction of the time for saving best epochs


class Stateful(Protocol):
    """A training whose state can be saved."""

    @property
    def file(self) -> str:
        """Name of the best network's file."""
        ...

    def tensors(self) -> Tensors:
        """The tensors that training changes, at this moment."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """The fields of a `Checkpoint` that are the trainer's."""
        ...


class Saver:
    """Decides with all ranks when to save. The main rank copies the state, and a thread writes the copy.

    Training waits for the copy only. A new best epoch is saved at once, unless saving has used its fraction of the
    time. Then it stays in memory until it may be written, at the latest at the end. A failed write prints a warning;
    the run goes on, and older checkpoints stay intact.
    """

    def __init__(
        self,
        folder: Path,
        config: Config,
        ranks: Ranks,
        trainer: Stateful,
        data: DataChecksum | None = None,
        seconds: float = 0.0,
    ) -> None:
        """`data` are the data of the run; `seconds` is the time that it took before it was resumed."""
        self._folder, self._config, self._ranks, self._trainer, self._data = folder, config, ranks, trainer, data
        self._options = config.checkpoint
        self._request = StopRequest(ranks.launcher)
        self._agreement = StopAgreement(self._request, ranks)
        self._listening = self._request.listening()
        self._thread = ThreadPoolExecutor(1, "saving")
        self._job: Future[NetworkSnapshot | None] | None = None
        self._failed = False  # whether the last write failed
        self._started = time.perf_counter() - seconds
        self._last_save = time.monotonic()
        self._best_from = 0.0  # the time from which the best epoch may be saved again
        self._network: NetworkSnapshot | None = None  # the best one, if it is not on disk yet
        self._best: Checkpoint | None = None  # its checkpoint
        self._free: list[Tensors] = []  # memory of snapshots that were written

    def __enter__(self) -> Saver:
        self._listening.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True)
        self._listening.__exit__(kind, error, trace)

    @property
    def seconds(self) -> float:
        """Seconds of this run, without the time between its parts."""
        return time.perf_counter() - self._started

    def after_step(self, progress: Progress) -> None:
        """Save if a checkpoint is due.

        Raises StoppedError, after saving, if the run has to stop; FloatingPointError, on all ranks, if numbers are no
        longer finite, in which case nothing is saved.
        """
        every = self._options.every_steps
        due = self._options.keep_last > 0 and every > 0 and progress.steps % every == 0
        stop, timed = 0, False
        if self._agreement.is_due(progress.steps):
            stop, timed = self._agreement.decide(progress.steps, progress.steps_per_epoch, self._is_time())
            self._flush_best()
        if due or timed or (stop and self._options.keep_last):
            losses = self._losses(progress)
            if self._ranks.is_main:
                self._wait()
                self._submit(self._snapshot(losses, is_best=False))
        if stop:
            self._stop(stop)

    def after_epoch(self, network: NetworkSnapshot | None) -> None:
        """Save at the end of an epoch; `network` is given if it is the best so far."""
        if not self._ranks.is_main or network is None:
            return
        self._network = network
        if self._options.at_best and self._options.keep_last:
            if self._best is not None:
                self._free.append(self._best.tensors)
            self._best = self._snapshot([0.0] * self._ranks.world_size, is_best=True)
        self._flush_best()

    def finish(self) -> Path:
        """Write what is not written yet, and the last state. Raises OSError if the best network can't be written."""
        path = self._folder / self._trainer.file
        if self._ranks.is_main:
            self._wait()
            if self._network is not None:
                self._network.save(path)
                self._network = None
            if self._best is not None:
                self._submit(self._taken_best())
                self._wait()
            if self._options.keep_last:
                self._save_last()
        return path

    def _save_last(self) -> None:
        """The state after the last epoch, which has no evaluation if training ended early."""
        if bool(zero_if_finite(all_of(self._trainer.tensors())).isnan()):
            self._warn("scores are not finite since the last evaluation; the last checkpoint is an older one")
            return
        self._submit(self._snapshot([0.0] * self._ranks.world_size, is_best=False))
        self._wait()

    def _is_time(self) -> bool:
        minutes = self._options.every_minutes
        wanted = self._options.keep_last > 0 and minutes > 0 and time.monotonic() - self._last_save >= 60 * minutes
        return wanted and self._is_idle()

    def _is_idle(self) -> bool:
        return self._job is None or self._job.done()

    def _flush_best(self) -> None:
        """Write the best network and its checkpoint, unless saving has used its fraction of the time."""
        if not self._is_idle() or time.monotonic() < self._best_from:
            return
        self._wait()
        if self._network is not None:
            self._submit(self._taken_best())

    def _taken_best(self) -> Checkpoint | None:
        taken, self._best = self._best, None
        return taken

    def _losses(self, progress: Progress) -> list[float]:
        """Each rank's loss so far. Raises FloatingPointError on all ranks unless all of them are finite."""
        tensors = self._trainer.tensors()
        losses = torch.zeros(self._ranks.world_size, dtype=torch.float64)
        losses[self._ranks.rank] = float(progress.loss + zero_if_finite(all_of(tensors), progress.loss.device))
        if not bool(self._ranks.all_reduce_sum(losses).isfinite().all()):
            raise diverged(progress.epoch, progress.loss, tensors)
        return [float(loss) for loss in losses]

    def _snapshot(self, losses: list[float], is_best: bool) -> Checkpoint:
        """A copy of the current state."""
        state = self._trainer.state_dict()
        state["tensors"] = _copied(state["tensors"], self._free.pop() if self._free else {})
        return Checkpoint(
            **state,
            losses=losses,
            seconds=self.seconds,
            is_best=is_best,
            config=self._config.to_dict(),
            data=self._data,
        )

    def _submit(self, snapshot: Checkpoint | None) -> None:
        network, self._network = self._network, None
        if snapshot is not None:
            self._last_save = time.monotonic()
        self._job = self._thread.submit(self._write, network, snapshot)

    def _wait(self) -> None:
        """Wait for the thread, and print a warning about a failed write."""
        if self._job is not None:
            unsaved, self._job = self._job.result(), None
            if self._network is None:  # otherwise there is a better one since then
                self._network = unsaved

    def _write(self, network: NetworkSnapshot | None, snapshot: Checkpoint | None) -> NetworkSnapshot | None:
        """Write in the thread: the best network first, since the checkpoint contains it.

        Returns the network if it is to be tried again. A failed write prints a warning.
        """
        started = time.monotonic()
        path = self._folder / self._trainer.file
        self._failed = False
        try:
            if network is not None:
                network.save(path)
                network = None
            if snapshot is not None:
                flush(self._folder / "metrics.jsonl")  # after a power failure they must not be older than the scores
                best = path if snapshot.best.epoch >= 0 else None
                checkpoint.write(self._folder, snapshot, best)
                checkpoint.prune(self._folder, snapshot.name, self._options.keep_last)
        except OSError as error:
            what = "the best network" if snapshot is None else f"checkpoint {snapshot.name}"
            self._warn(f"{what} could not be written ({error.strerror or error}); the run goes on")
            self._failed = True
        if snapshot is not None:
            self._free.append(snapshot.tensors)
        taken = time.monotonic() - started
        self._best_from = time.monotonic() + taken / _PART_OF_TIME
        return network

    def _stop(self, number: int) -> None:
        name, kind = signal.Signals(number).name, InterruptedRunError if number == signal.SIGINT else StoppedError
        if self._ranks.is_main:
            self._wait()
        self._ranks.barrier()  # after one rank has left, the launcher ends the main rank, which may still be writing
        if not self._options.keep_last:
            raise kind(f"stopped by {name}; nothing was saved, as checkpoint.keep_last is 0")
        where = ", from an older checkpoint" if self._failed else ""
        raise kind(f"stopped by {name}; to resume{where}: {command_to_resume(self._folder)}")

    def _warn(self, message: str) -> None:
        _log.warning(f"{self._folder}: {message}")


def command_to_resume(folder: Path) -> str:
    """The shell command that resumes a run."""
    return f"ugts train {shlex.quote(str(folder))}"


def _copied(tensors: Mapping[str, Mapping[str, Tensor]], memory: Tensors) -> Tensors:
    """A copy of the tensors on the CPU, in the memory of an earlier copy if that fits."""
    copies: Tensors = {}
    for kind, group in tensors.items():
        known = memory.get(kind, {})
        copies[kind] = {}
        for name, value in group.items():
            copy = known.get(name)
            copies[kind][name] = torch.empty_like(value, device="cpu") if copy is None else copy
            copies[kind][name].copy_(value.detach())
    return copies
